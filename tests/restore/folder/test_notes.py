"""What a run does worse than it could is in the report and in the table."""

import cv2
import numpy as np
import pytest
import torch
from fake_detector import detected, landmarks_at, smooth
from fake_restorer import fake_restorer
from image_files import photo_of
from restore_command import report
from tiny import tiny_frex, trained

from frex.heads.codes import has_untrained_prior
from frex.restore.faces.helper_networks import FaceParser, Lazy
from frex.restore.folder.notes import NO_PARSER, UNTRAINED_PRIOR, list_notes
from frex.restore.folder.options import RestoreOptions
from frex.restore.folder.report import ImageRecord, Run
from frex.restore.folder.summary import MOST_LISTED, summarize_run

PLAIN = RestoreOptions(('x',))


def notes_on(image, *faces, options=PLAIN, parser=None, detection_size=None, **net):
    """Return the notes on a photograph in which a detector finds `faces`."""
    restorer = fake_restorer(*faces, **net)
    restorer.parts.parser = Lazy(lambda: parser)
    if detection_size:
        restorer.parts.detector().detection_size = None if detection_size == 'auto' else detection_size
    photo = photo_of(image)
    found = restorer.find_faces(photo, force=True)
    return list_notes(restorer, options, photo, found, restorer.restore_found(found))


def face(side):
    return detected(landmarks_at(150, 150, side), 0.99)


def test_results_smaller_than_the_faces_they_replace_are_noted():
    image = smooth(300, 300)
    parser = FaceParser(torch.nn.Identity())
    assert notes_on(image, face(60), size=64, parser=parser) == []
    assert notes_on(image, face(250), size=64, parser=parser) == [
        '1 restored face of 64 x 64 pixels enlarged, to 250 at most: the network makes no larger ones'
    ]
    larger = RestoreOptions(('x',), upscale=2.0)
    (note,) = notes_on(image, face(60), size=64, parser=parser, options=larger)
    assert note.startswith('1 restored face of 64 x 64 pixels enlarged, to 120 at most')


def test_a_missing_parser_is_noted_where_it_would_help():
    image = smooth(300, 300)
    assert notes_on(image, face(60)) == [NO_PARSER]
    assert notes_on(image) == []


@pytest.mark.parametrize(('width', 'least'), [(300, None), (600, 32), (900, 48)])
def test_a_search_at_reduced_size_is_noted_with_the_faces_it_may_miss(width, least):
    notes = notes_on(np.zeros((200, width, 3), np.uint8), detection_size=300)
    expected = (
        f'searched at a longer side of 300 pixels, not {width}: faces narrower than about {least} pixels may be missed; '
        f'--detection_size {width} finds them, in more time'
    )
    assert notes == ([] if least is None else [expected])
    # A detector that says nothing of this searches the image itself.
    assert notes_on(np.zeros((200, width, 3), np.uint8)) == []


@pytest.mark.parametrize(('sides', 'noted'), [((), False), ((60,), False), ((200, 60), False), ((200,), True)])
def test_where_the_size_is_chosen_a_search_at_all_pixels_is_not_called_reduced(sides, noted):
    """In a copy of 1500 pixels of 3000 faces are half as long; below 48 pixels there, or without any, all pixels are searched."""
    faces = [detected(landmarks_at(300 + 600 * place, 150, side), 0.99) for place, side in enumerate(sides)]
    notes = notes_on(np.zeros((300, 3000, 3), np.uint8), *faces, detection_size='auto')
    assert any('searched at a longer side of 1500 pixels, not 3000' in note for note in notes) == noted


def test_a_photograph_in_one_tint_says_that_its_faces_are_too():
    image = smooth(300, 300)
    tinted = np.dstack([cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)] * 3) // 2 + np.array([10, 30, 50], np.uint8)
    assert 'no colours in the face: restored in the tone of the photograph' in notes_on(tinted, face(60))


def test_random_priors_are_known_by_their_biases():
    assert has_untrained_prior(tiny_frex())
    assert not has_untrained_prior(tiny_frex(use_3d_prior=False))
    net = trained(tiny_frex())
    # Training leaves a 3D prior that was not loaded as it is.
    assert has_untrained_prior(net)
    net.eg3d.decoder.net[0].bias.data[0] = 1e-3
    assert not has_untrained_prior(net)


def test_a_head_of_random_priors_is_noted_in_report_and_table(whole, aligned, tmp_path, capsys):
    assert whole('--save_3d') == 0
    notes = {image['input'][-5:]: image['notes'] for image in report(tmp_path / 'out')['pictures']}
    assert UNTRAINED_PRIOR in notes['a.png']
    assert UNTRAINED_PRIOR not in notes['y.png']
    printed = capsys.readouterr().out
    assert f'note: 2 images, such as {tmp_path / "photos/a.png"}: {UNTRAINED_PRIOR}' in printed
    assert f'{tmp_path / "photos/a.png"}: {NO_PARSER}' in printed
    assert whole('--exist', 'overwrite') == 0
    assert UNTRAINED_PRIOR not in capsys.readouterr().out


def test_the_table_lists_each_kind_of_note_once():
    left = 'face 0 is left as it is: it holds more detail'
    records = [ImageRecord(input=f'/in/{n}.png', status='restored', notes=[f'{n} extra channels', left], run='r') for n in (1, 2)]
    records.append(ImageRecord(input='/in/3.png', status='restored', notes=['alpha left out'], run='r'))
    lines = summarize_run(Run(started=0, ended=1), records)
    assert lines[-2:] == ['note: 2 images, such as /in/1.png: 1 extra channels', 'note: /in/3.png: alpha left out']
    many = [ImageRecord(input='/in/a.png', status='restored', notes=['x' * n for n in range(1, MOST_LISTED + 4)], run='r')]
    lines = summarize_run(Run(started=0, ended=1), many)
    assert lines[-1] == 'note: 3 more kinds, see the report'

"""Damaged files, networks that break, full disks and bad input: each is told in one line, and stops no other image."""

import os
import re
import shutil

import numpy as np
import pytest
from fake_detector import detected, landmarks_at
from processes import Command
from restore_command import command, files, names, report, run, statuses

from frex.cli.restore import main
from frex.images import read_image
from frex.restore import FaceRestorer
from frex.restore.faces.results import Restoration

pytestmark = pytest.mark.usefixtures('weights_folder')


def test_one_bad_file_is_named_and_the_rest_goes_on(whole, photos, tmp_path, capsys):
    (photos / 'broken.png').write_bytes((photos / 'a.png').read_bytes()[:3000])
    (photos / 'none.jpg').write_bytes(b'')
    assert whole() == 1
    printed = capsys.readouterr().out
    assert re.search(r'failed +2', printed)
    assert f'failed: {photos / "broken.png"}: ' in printed
    assert f'failed: {photos / "none.jpg"}: the file is empty' in printed
    assert names(tmp_path / 'out/restored_imgs') == ['a.png', 'below', 'empty.png']
    assert statuses(tmp_path / 'out')['broken.png'] == 'failed'


def test_a_face_that_fails_makes_no_image(whole, photos, tmp_path, monkeypatch, capsys):
    original = FaceRestorer.restore_found

    def restore(self, faces, *more, **named):
        restored = original(self, faces, *more, **named)
        return [Restoration(problem='not finite') if face.score == 0.95 else one for face, one in zip(faces, restored, strict=True)]

    monkeypatch.setattr(FaceRestorer, 'restore_found', restore)
    assert whole() == 1
    assert [path for path in files(tmp_path / 'out') if path.startswith('restored_')] == [
        'restored_faces/a_00.png',
        'restored_faces/below/b_00.png',
        'restored_imgs/empty.png',
    ]
    assert f'failed: {photos / "a.png"}: 1 of 2 faces not restored: not finite' in capsys.readouterr().out
    # It is not skipped in the next run either.
    monkeypatch.setattr(FaceRestorer, 'restore_found', original)
    assert whole() == 0
    assert names(tmp_path / 'out/restored_imgs') == ['a.png', 'below', 'empty.png']


def test_landmarks_that_fit_no_face_leave_the_image_its_others(whole, detector, photos, tmp_path, capsys):
    first, second = detector.faces
    detector.faces = (first, second._replace(landmarks=np.full((5, 2), 100.0)))
    assert whole() == 0
    assert f'left: {photos / "a.png"}: 1 of 2 faces as they were: the five landmarks lie in one place' in capsys.readouterr().out
    assert not (tmp_path / 'out/restored_faces/a_01.png').exists()


UNUSABLE = {
    'the five landmarks lie in one place': np.full((5, 2), 190.0),
    'the face lies outside of the image': landmarks_at(-20, 100, 90),
    'the face is too small': landmarks_at(260, 100, 5),
    'the five landmarks are mirrored': landmarks_at(100, 60, 60)[[1, 0, 2, 4, 3]],
    'the five landmarks do not lie as in a face': np.linspace([200, 10], [289, 14], 5),
}


def test_an_image_of_unusable_faces_is_written_as_it_was(whole, detector, photos, tmp_path, capsys):
    detector.faces = tuple(detected(landmarks, 0.99 - 0.01 * number) for number, landmarks in enumerate(UNUSABLE.values()))
    assert whole() == 0
    for name in ('a.png', 'empty.png'):
        assert np.array_equal(read_image(tmp_path / 'out/restored_imgs' / name), read_image(photos / name))
    assert (tmp_path / 'out/restored_imgs/below/b.jpg').exists()
    reason = 'found, but cannot be restored: 5 faces: the five landmarks lie in one place'
    assert f'no face: {photos / "a.png"}: {reason}' in capsys.readouterr().out
    (record,) = [one for one in report(tmp_path / 'out')['pictures'] if one['input'].endswith('a.png')]
    assert (record['status'], record['output']) == ('no face', 'restored_imgs/a.png')
    assert all(face['reason'].startswith(reason) for face, reason in zip(record['faces'], UNUSABLE, strict=True))
    # The next run has nothing to do; as for images without a face, they can be left out.
    assert whole() == 0
    assert statuses(tmp_path / 'out')['a.png'] == 'no face'
    assert whole('--exist', 'rename', '--no_face', 'skip') == 0
    assert not (tmp_path / 'out/restored_imgs/a(1).png').exists()


def test_a_network_that_breaks_is_told_for_each_image(whole, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(FaceRestorer, 'restore_found', lambda *arguments, **named: (_ for _ in ()).throw(RuntimeError('no\nluck')))
    assert whole() == 1
    assert re.search(r'a.png: RuntimeError: no\\nluck\n', capsys.readouterr().out)
    assert statuses(tmp_path / 'out') == {'a.png': 'failed', 'b.jpg': 'failed', 'empty.png': 'no face'}


@pytest.mark.slow
def test_a_full_disk_stops_the_run_and_leaves_no_half_images(aligned, tmp_path, monkeypatch, capsys):
    replace, written = os.replace, []

    def fill_up(part, path):
        written.append(path)
        if path.name != 'report.json' and len(written) > 3:
            raise OSError(28, 'No space left on device')
        replace(part, path)

    monkeypatch.setattr('frex.utils.files.os.replace', fill_up)
    assert aligned('--batch_size', '1') == 1
    printed = capsys.readouterr()
    assert 'stopped before the end: nothing more can be written (ENOSPC)' in printed.err
    assert 'No space left on device' in printed.out
    assert len([path for path in files(tmp_path / 'out') if path.endswith('.png')]) == 3
    assert not list((tmp_path / 'out').rglob('*.part'))
    # When there is space again, the same command finishes the work.
    monkeypatch.setattr('frex.utils.files.os.replace', replace)
    assert aligned() == 0
    assert len(names(tmp_path / 'out/restored_faces')) == 5


@pytest.mark.parametrize(('place', 'message'), [('out', 'cannot write to'), ('out/restored_faces', 'is in the way')])
def test_an_output_that_cannot_be_is_told_before_the_network_is_loaded(aligned, tmp_path, place, message, monkeypatch, capsys):
    monkeypatch.setattr(FaceRestorer, 'from_pretrained', lambda *arguments: pytest.fail('the network was loaded'))
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text('a file')
    assert aligned() == 1
    printed = capsys.readouterr().err
    assert re.fullmatch(rf'inference_frex.py: error: --output: .*{message}.*\n', printed)


def test_a_foreign_report_is_not_written_over(aligned, tmp_path, capsys):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out/report.json').write_text('{"mine": 1}')
    assert aligned() == 1
    assert 'not a report of this program' in capsys.readouterr().err
    assert files(tmp_path / 'out') == ['report.json']


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'-i': '/no/folder'}, '--input: no file, folder or pattern /no/folder'),
        ({'--model_path': '/no/net.pth'}, '/no/net.pth: no such file'),
        ({'--device': 'cuda:99'}, '--device cuda:99: not usable here'),
        ({'--device': 'abacus'}, '--device abacus: not usable here'),
        ({'--ext': 'xyz'}, '.xyz'),
        ({'--suffix': 'a/b'}, '--suffix a/b: not a part of a file name'),
    ],
)
def test_bad_input_is_one_line_and_status_1(checkpoint, face_folder, tmp_path, capsys, changes, message):
    arguments = {'-i': face_folder, '-o': tmp_path / 'out', '--model_path': checkpoint} | changes
    assert run('--aligned', *(item for pair in arguments.items() for item in pair)) == 1
    printed = capsys.readouterr().err.strip()
    assert printed.startswith(f'inference_frex.py: error: {message}')
    assert '\n' not in printed
    assert not (tmp_path / 'out').exists()


def test_photographs_need_a_detector_and_say_how_to_get_it(checkpoint, photos, tmp_path, capsys):
    assert run('-i', photos, '-o', tmp_path / 'out', '--model_path', checkpoint) == 1
    assert 'frex weights download retinaface_resnet50' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_a_name_that_is_no_text_goes_through(checkpoint, face_folder, tmp_path):
    path = tmp_path / os.fsdecode(b'f\xe9.png')
    shutil.copy(face_folder / 'face0.png', path)
    out = tmp_path / os.fsdecode(b'o\xe9')
    # The streams raise on characters that they cannot encode, as those of a pipe may.
    done = Command(main, *command(checkpoint, path, out, '--suffix', os.fsdecode(b'\xe8')), folder=tmp_path, PYTHONIOENCODING='utf-8')
    assert done.wait() == 0, done.stderr
    assert 'results in ' in done.stdout
    assert '\\udce9' in done.stdout
    (one,) = report(out)['runs'].values()
    assert one['settings']['input'] == [f'{tmp_path}/f\\udce9.png']
    assert one['settings']['suffix'] == '\\udce8'


def test_a_folder_that_cannot_be_listed_is_a_failure_beside_the_rest(whole, photos, tmp_path, monkeypatch, capsys):
    listed = os.scandir

    def scandir(path):
        if str(path).endswith('below'):
            raise PermissionError(13, 'Permission denied', str(path))
        return listed(path)

    monkeypatch.setattr(os, 'scandir', scandir)
    assert whole() == 1
    assert f'failed: {photos / "below"}: the folder cannot be listed (Permission denied)' in capsys.readouterr().out
    assert statuses(tmp_path / 'out') == {'a.png': 'restored', 'below': 'failed', 'empty.png': 'no face'}

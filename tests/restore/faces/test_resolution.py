"""Faces that hold more detail than a small network's result are left as they are: the rule on real portraits, and its command."""

import json

import cv2
import numpy as np
import pytest
from fake_detector import FakeDetector, detected
from fake_restorer import FakeNetwork
from image_files import photo_of

from frex.cli.restore import main
from frex.demo.portraits import read_portraits
from frex.images import read_image, write_image
from frex.restore import FaceRestorer
from frex.restore.detection.align import align_face, face_matrix, scale_of
from frex.restore.faces.helper_networks import HelperNetworks
from frex.restore.faces.photo import find_faces, keep_detail
from frex.restore.faces.resolution import FACTOR, LARGE_NETWORK, has_more_detail
from frex.restore.folder.notes import NO_PARSER

NAMES = ['eileen_collins', 'grace_hopper']
SIZE = 64


def has_more(image, landmarks, size=SIZE):
    return has_more_detail(image, face_matrix(landmarks, size), size)


def side_of(portrait):
    """Pixels that the aligned square spans."""
    return 512 / scale_of(face_matrix(portrait.landmarks, 512))


def noisy(image, deviation):
    noise = np.random.default_rng(0).normal(0, deviation, image.shape)
    return (image + noise).clip(0, 255).round().astype(np.uint8)


def compressed(image, quality):
    return cv2.imdecode(cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


def enlarged_from(portrait, pixels, way=cv2.INTER_CUBIC):
    """The photograph as if its face had been `pixels` wide, enlarged to the size that it has."""
    scale = pixels / side_of(portrait)
    small = cv2.resize(portrait.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, portrait.image.shape[1::-1], interpolation=way)


def blurred(portrait, deviation):
    """`deviation` is stated in pixels of a face of SIZE."""
    return cv2.GaussianBlur(portrait.image, (0, 0), deviation * side_of(portrait) / SIZE)


# --- The rule

SHARP = {
    'as it is': lambda portrait: portrait.image,
    'a little noise': lambda portrait: noisy(portrait.image, 5),
    'jpeg 40': lambda portrait: compressed(portrait.image, 40),
    '16 bit': lambda portrait: portrait.image.astype(np.uint16) * 257,
    'in grey': lambda portrait: cv2.cvtColor(cv2.cvtColor(portrait.image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR),
    'on its side': None,
}
POOR = {
    'blurred': lambda portrait: blurred(portrait, 1),
    'blurred much': lambda portrait: blurred(portrait, 4),
    'blurred, then noise': lambda portrait: noisy(blurred(portrait, 2), 25),
    'blurred, then jpeg 20': lambda portrait: compressed(blurred(portrait, 2), 20),
    'heavy noise': lambda portrait: noisy(portrait.image, 30 * side_of(portrait) / SIZE),
    'enlarged from the size of the network': lambda portrait: enlarged_from(portrait, SIZE),
    'enlarged, then noise': lambda portrait: noisy(enlarged_from(portrait, SIZE), 30),
    'enlarged, then jpeg 30': lambda portrait: compressed(enlarged_from(portrait, SIZE), 30),
    'squares of one colour': lambda portrait: enlarged_from(portrait, SIZE, cv2.INTER_NEAREST),
    'large squares of one colour': lambda portrait: enlarged_from(portrait, SIZE / 3, cv2.INTER_NEAREST),
    'squares of one colour, then jpeg 90': lambda portrait: compressed(enlarged_from(portrait, SIZE, cv2.INTER_NEAREST), 90),
    'without any detail': lambda portrait: np.full_like(portrait.image, 90),
}


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('kind', SHARP)
def test_a_large_sharp_face_has_more_detail(portraits, name, kind):
    portrait = portraits[name]
    image, landmarks = portrait.image, portrait.landmarks
    if SHARP[kind] is None:
        image = np.ascontiguousarray(np.rot90(image, -1))
        landmarks = np.stack([portrait.image.shape[0] - landmarks[:, 1], landmarks[:, 0]], axis=1)
    else:
        image = SHARP[kind](portrait)
    assert has_more(image, landmarks)


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('kind', POOR)
def test_a_large_face_without_detail_has_not(portraits, name, kind):
    portrait = portraits[name]
    assert not has_more(POOR[kind](portrait), portrait.landmarks)


@pytest.mark.parametrize('name', NAMES)
def test_a_small_face_has_not_however_sharp_it_is(portraits, name):
    portrait = portraits[name]
    for side, expected in ((1.1 * FACTOR * SIZE, True), (0.95 * FACTOR * SIZE, False), (SIZE, False), (SIZE / 2, False)):
        scale = side / side_of(portrait)
        small = cv2.resize(portrait.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        landmarks = portrait.landmarks * (np.array(small.shape[1::-1]) / portrait.image.shape[1::-1])
        assert has_more(small, landmarks) == expected


def test_it_is_a_matter_of_the_networks_size(portraits):
    portrait = portraits['grace_hopper']
    assert [has_more(portrait.image, portrait.landmarks, size) for size in (64, 128, 192, 256)] == [True, True, True, False]


def test_large_networks_restore_every_face():
    stripes = np.repeat(np.random.default_rng(0).integers(0, 256, (1600, 400, 1), dtype=np.uint8), 4, axis=1)
    image = np.dstack([stripes] * 3)
    matrix = np.eye(2, 3) * (LARGE_NETWORK / 1600)
    assert not has_more_detail(image, matrix, LARGE_NETWORK)


def test_the_border_of_the_photograph_is_no_detail(portraits):
    portrait = portraits['grace_hopper']
    smooth = blurred(portrait, 2)
    # The right half of the face lies beyond the photograph.
    middle = round(portrait.landmarks[2, 0])
    assert not has_more(np.ascontiguousarray(smooth[:, :middle]), portrait.landmarks)
    assert has_more(np.ascontiguousarray(portrait.image[:, :middle]), portrait.landmarks)
    assert not has_more(np.ascontiguousarray(portrait.image[:, : middle // 2]), portrait.landmarks)


# --- Photographs


def both_in_one(portraits):
    """A photograph with a sharp face and a blurred one, and what a detector finds in it."""
    hopper = portraits['grace_hopper']
    image = np.hstack([hopper.image, blurred(hopper, 2)])
    faces = [detected(hopper.landmarks, 0.99), detected(hopper.landmarks + np.array([hopper.image.shape[1], 0]), 0.95)]
    return image, FakeDetector(*faces, shape=image.shape[:2])


def test_only_the_face_without_detail_is_restored(portraits):
    image, detector = both_in_one(portraits)
    net = FakeNetwork(SIZE, change=lambda lq: -lq)
    restorer = FaceRestorer(net, 'cpu', parts=HelperNetworks(detector=detector))
    result = restorer.restore(image)
    sharp, blurry = result.faces
    assert (sharp.restored, blurry.problem) == (None, None)
    assert sharp.problem == 'it holds more detail than 64 x 64 pixels, the size of the result; --force restores it'
    assert [call[0] for call in net.calls] == [1]
    width = image.shape[1] // 2
    assert np.array_equal(result.image[:, : width - 80], image[:, : width - 80])
    assert (result.image[:, width:] != image[:, width:]).mean() > 0.2
    forced = restorer.restore(image, force=True)
    assert [face.problem for face in forced.faces] == [None, None]


def test_a_face_that_is_asked_for_alone_is_restored(portraits):
    image, detector = both_in_one(portraits)
    restorer = FaceRestorer(FakeNetwork(SIZE), 'cpu', parts=HelperNetworks(detector=detector))
    assert len(restorer.enhance(image, paste_back=False)[1]) == 2
    with pytest.warns(UserWarning, match='is not restored: it holds more detail'):
        assert len(restorer.enhance(image)[1]) == 1


def test_a_face_whose_landmarks_fit_none_keeps_its_own_reason(portraits):
    hopper = portraits['grace_hopper']
    photo = photo_of(hopper.image)
    (face,) = find_faces(photo, FakeDetector(detected(hopper.landmarks[[1, 0, 2, 4, 3]])), SIZE)
    assert keep_detail(photo, face) is face


# --- Commands


@pytest.fixture
def run(portraits, small_model, weights_folder, tmp_path, monkeypatch):
    """Restores the photograph of `both_in_one`, and that of the sharp face alone."""
    image, detector = both_in_one(portraits)
    hopper = portraits['grace_hopper']
    alone = FakeDetector(detected(hopper.landmarks, 0.99), shape=hopper.image.shape[:2])
    both = type('Both', (), {'detect': lambda self, image, threshold=0.8: detector.detect(image) + alone.detect(image)})()
    monkeypatch.setattr('frex.restore.faces.helper_networks.FaceDetector.from_weights', lambda *arguments: both)
    write_image(tmp_path / 'photos/alone.png', hopper.image)
    write_image(tmp_path / 'photos/both.png', image)
    flags = ['-i', str(tmp_path / 'photos'), '-o', str(tmp_path / 'out'), '--device', 'cpu']
    return lambda *more: main([*flags, *more])


def records(folder):
    return json.loads((folder / 'report.json').read_text())['pictures']


def test_table_and_report_say_which_faces_stay(run, tmp_path, capsys):
    assert run() == 0
    reason = 'it holds more detail than 64 x 64 pixels, the size of the result; --force restores it'
    alone, both = records(tmp_path / 'out')
    assert [alone['status'], both['status']] == ['restored', 'restored']
    assert [face['reason'] for face in both['faces']] == [reason, None]
    left = f'face 0 is left as it is: {reason}'
    assert alone['notes'] == [left]
    # The other face is as large, but blurred.
    assert both['notes'] == [
        '1 restored face of 64 x 64 pixels enlarged, to 323 at most: the network makes no larger ones',
        NO_PARSER,
        left,
    ]
    assert np.array_equal(read_image(tmp_path / 'out/restored_imgs/alone.png'), read_image(tmp_path / 'photos/alone.png'))
    assert not np.array_equal(read_image(tmp_path / 'out/restored_imgs/both.png'), read_image(tmp_path / 'photos/both.png'))
    table = capsys.readouterr().out
    assert 'restored  2  1 face; 1 image with all faces left as they were\n' in table
    assert f'alone.png: 1 of 1 faces as they were: {reason}' in table
    assert f'both.png: 1 of 2 faces as they were: {reason}' in table


def test_force_restores_them_all_the_same(run, tmp_path, capsys):
    assert run('--force') == 0
    assert [[face['reason'] for face in record['faces']] for record in records(tmp_path / 'out')] == [[None], [None, None]]
    notes = [record['notes'] for record in records(tmp_path / 'out')]
    assert [len(one) for one in notes] == [2, 2]
    assert [one[0].partition(' of ')[0] for one in notes] == ['1 restored face', '2 restored faces']
    capsys.readouterr()
    assert run() == 0
    assert '2 were made with other settings (force True)' in capsys.readouterr().out


def test_an_aligned_face_is_restored_with_a_note(small_model, tmp_path, capsys):
    for portrait in read_portraits():
        face = align_face(portrait.image, portrait.landmarks)
        write_image(tmp_path / f'faces/{portrait.name}.png', face)
        write_image(tmp_path / f'faces/{portrait.name}_blurred.png', cv2.GaussianBlur(face, (0, 0), 16))
    flags = ['-i', str(tmp_path / 'faces'), '-o', str(tmp_path / 'out'), '--aligned', '--device', 'cpu']
    assert main([*flags, '--force']) == 0
    assert '--force does nothing with --aligned: all faces are restored' in capsys.readouterr().err
    note = 'the input holds more detail than the restored face of 64 x 64 pixels'
    assert [record['status'] for record in records(tmp_path / 'out')] == ['restored'] * 4
    assert [record['notes'] for record in records(tmp_path / 'out')] == [[note], [], [note], []]

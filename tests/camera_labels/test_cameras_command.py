"""`frex cameras`: import, estimate, draw and compare labels."""

import json

import cv2
import numpy as np
import pytest
import torch
from labelled_heads import (
    DOTS,
    FFHQ_CAMERAS,
    FFHQ_CROP,
    SYMMETRIC,
    DotDetector,
    camera,
    counted_labels,
    cropping_entry,
    in_world,
    mirrored,
    named_labels,
    write_cropping_params,
    write_face,
    write_label_file,
)
from PIL import Image as Pillow

from frex.camera_labels.cropping_params import read_cropping_params
from frex.camera_labels.estimate import LandmarkFinder
from frex.camera_labels.preview import project_axes
from frex.cli.main import main
from frex.data.labels import check_rotations, drop_bare_names, match_labels, read_labels
from frex.data.landmarks import project_points
from frex.errors import FRExError
from frex.images import read_image
from frex.restore.detection.dense_landmarks import LandmarkNetwork
from frex.restore.detection.detector import DetectedFace
from frex_arch.camera import frontal_camera, mirror_camera
from frex_arch.crop import mirror_crop


def run(*arguments):
    return main(['cameras', *map(str, arguments)])


@pytest.fixture
def with_dots(monkeypatch):
    monkeypatch.setattr(LandmarkFinder, 'from_weights', lambda weights, device, threshold: LandmarkFinder(DotDetector(), None, threshold))


@pytest.fixture
def truth(tmp_path):
    """Return cameras by name, and the file of their labels."""
    cameras = {'a.png': camera(0, 3), 'deep/er/b.png': camera(35, -5, 4), 'deep/c.png': camera(-20, 8)}
    return cameras, write_label_file(tmp_path / 'truth.json', cameras)


# --- import


def test_the_crop_of_made_params_is_the_one_worked_out_by_hand(tmp_path):
    # One unit is already 300 pixels and the head's origin is 0.4 pixels off the middle: nothing is scaled, and the crop is
    # pixels 400 to 1100. FFHQ's square is 1500 / 1.8 wide, 333.33 to 1166.67. EG3D counts y from one pixel further down.
    landmarks = np.array([750.4, 749.4]) + 299.95 * SYMMETRIC[:, :2] * (1, -1)
    crop = read_cropping_params(write_cropping_params(tmp_path / 'p.json', a=cropping_entry(landmarks)))['a.png']
    np.testing.assert_allclose(crop, [833.3333 / 700, -66.6667 / 700, -66.6667 / 700], rtol=1e-5)


def test_the_crop_of_params_is_what_cutting_the_image_does(tmp_path):
    centre, unit = np.array([741.3, 802.7]), 273.9
    landmarks = centre + unit * SYMMETRIC[:, :2] * (1, -1)
    image = np.zeros((1500, 1500), np.uint8)
    dots = [(500, 600), (900, 1000)]
    for dot in dots:
        cv2.circle(image, dot, 12, 255, -1)
    # What EG3D does with it, step by step.
    size = int(1500 * 300 / unit)
    left, top = (int(size / 2 - 512 + (middle - 750) * 300 / unit) for middle in (centre[0], centre[1] + 1))
    cut = Pillow.fromarray(image).resize((size, size), Pillow.BICUBIC).crop((left, top, left + 1024, top + 1024))
    cut = np.asarray(cut.crop((162, 162, 862, 862)).resize((512, 512), Pillow.LANCZOS), np.float64)

    scale, *shift = read_cropping_params(write_cropping_params(tmp_path / 'p.json', a=cropping_entry(landmarks)))['a.png']
    for dot, half in zip(dots, (slice(0, 256), slice(256, 512)), strict=True):
        weights = cut[half]
        rows, columns = np.mgrid[half, 0:512]
        seen = np.array([(weights * columns).sum(), (weights * rows).sum()]) / weights.sum() + 0.5
        in_ffhq = (np.array(dot) + 0.5 - 1500 * (1 - 1 / 1.8) / 2) * 1.8 / 1500
        np.testing.assert_allclose((scale * in_ffhq + shift) * 512, seen, atol=0.05)


def test_importing_joins_labels_crops_and_mirrored_crops(tmp_path, capsys):
    labels = {'00000.png': camera(10), '00000_mirror.png': mirror_camera(torch.from_numpy(camera(10))[None])[0], '00002.png': camera(0)}
    landmarks = (760, 740) + 290 * SYMMETRIC[:, :2] * (1, -1)
    params = write_cropping_params(tmp_path / 'params.json', **{'00000': cropping_entry(landmarks)})
    out = tmp_path / 'out.json'
    assert run('import', write_label_file(tmp_path / 'dataset.json', labels), '--cropping_params', params, '-o', out) == 0
    printed = capsys.readouterr().out
    assert 'labels without a crop: 1 (00002.png)' in printed
    assert f'{out}: 3 cameras, 2 crops' in printed
    imported = read_labels(out)
    np.testing.assert_array_equal(imported.cameras['00002.png'], camera(0).astype(np.float32))
    expected = read_cropping_params(params)['00000.png']
    np.testing.assert_array_equal(imported.crops['00000.png'], expected)
    np.testing.assert_allclose(imported.crops['00000_mirror.png'], mirror_crop(torch.from_numpy(expected)[None])[0])


def test_importing_tells_which_images_and_labels_have_no_partner(tmp_path, truth, capsys):
    _, labels = truth
    for name in ('a.png', 'deep/c.png', 'new.png'):
        write_face(tmp_path / 'faces' / name, camera(0))
    assert run('import', labels, '--images', tmp_path / 'faces', '-o', tmp_path / 'out.json') == 0
    printed = capsys.readouterr().out
    assert f'{labels}: 3 labels by the names of images (a.png, deep/er/b.png, deep/c.png)' in printed
    assert 'images with a label: 2 of 3' in printed
    assert 'images without a label: 1 (new.png); training leaves them out of the camera loss' in printed
    assert 'labels without an image: 1 (deep/er/b.png)' in printed
    assert read_labels(tmp_path / 'out.json').unlabelled == {'new.png'}


def write_images(folder, names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), np.zeros((8, 8, 3), np.uint8))
    return folder


@pytest.mark.parametrize('folders', ['', '00000/'])
@pytest.mark.parametrize('labels', [named_labels(), counted_labels()], ids=['named', 'counted'])
def test_both_namings_of_eg3d_give_each_image_its_own_label(tmp_path, capsys, labels, folders):
    images = write_images(tmp_path / 'faces', [folders + name for name in FFHQ_CAMERAS])
    out = tmp_path / 'out.json'
    assert run('import', write_label_file(tmp_path / 'dataset.json', labels), '--images', images, '-o', out) == 0
    printed = capsys.readouterr().out
    assert 'images with a label: 3 of 3\n' in printed
    assert 'without' not in printed
    imported = read_labels(out).cameras
    for name, label in FFHQ_CAMERAS.items():
        np.testing.assert_allclose(imported[name], label, atol=1e-6)
        np.testing.assert_allclose(imported[name.replace('.png', '_mirror.png')], mirrored(label), atol=1e-6)
    if '00001.png' not in labels:
        first = [folders + name for name in ('00000.png', '00000_mirror.png', '00001.png')]
        told = f'numbers its 6 labels: 00000/img00000000.png, 00000/img00000001.png, 00000/img00000002.png, ... are {", ".join(first)}'
        assert told in printed


def test_counted_labels_of_a_folder_that_has_the_mirror_images_too(tmp_path):
    images = write_images(tmp_path / 'faces', named_labels())
    out = tmp_path / 'out.json'
    assert run('import', write_label_file(tmp_path / 'dataset.json', counted_labels()), '--images', images, '-o', out) == 0
    assert read_labels(out).cameras.keys() == named_labels().keys()
    np.testing.assert_allclose(read_labels(out).cameras['00001_mirror.png'], mirrored(FFHQ_CAMERAS['00001.png']), atol=1e-6)


def test_cropping_params_name_the_images_that_were_counted(tmp_path, capsys):
    """EG3D found no face in some images of FFHQ, and counts only the others."""
    images = write_images(tmp_path / 'faces', [*FFHQ_CAMERAS, '00002.png'])
    landmarks = (760, 740) + 290 * SYMMETRIC[:, :2] * (1, -1)
    params = write_cropping_params(
        tmp_path / 'params.json', **{name.removesuffix('.png'): cropping_entry(landmarks) for name in FFHQ_CAMERAS}
    )
    labels = write_label_file(tmp_path / 'dataset.json', counted_labels())
    out = tmp_path / 'out.json'
    assert run('import', labels, '--images', images, '-o', out) == 1
    message = 'numbers its 6 labels, so 3 images and their mirror images, but'
    assert capsys.readouterr().err == (
        f'frex: error: {labels}: {message} {images} has 4 images; --cropping_params names the images that EG3D counted\n'
    )
    assert not out.exists()
    assert run('import', labels, '--images', images, '--cropping_params', params, '-o', out) == 0
    assert 'images without a label: 1 (00002.png)' in capsys.readouterr().out
    np.testing.assert_allclose(read_labels(out).cameras['00003.png'], FFHQ_CAMERAS['00003.png'], atol=1e-6)
    assert read_labels(out).crops.keys() == named_labels().keys()
    assert read_labels(out).unlabelled == {'00002.png'}


def test_counted_labels_that_are_no_pairs_do_not_fit(tmp_path, capsys):
    """EG3D's rebalanced set repeats images."""
    labels = dict(zip(counted_labels(), [FFHQ_CAMERAS['00000.png'], FFHQ_CAMERAS['00001.png']] * 3, strict=True))
    images = write_images(tmp_path / 'faces', FFHQ_CAMERAS)
    assert run('import', write_label_file(tmp_path / 'dataset.json', labels), '--images', images, '-o', tmp_path / 'out.json') == 1
    told = 'numbers its 6 labels, but they are not in pairs of an image and its mirror image; '
    assert capsys.readouterr().err == f'frex: error: {tmp_path}/dataset.json: {told}{images} has 3 images\n'
    images = write_images(tmp_path / 'others', ['0.png', '0_mirror.png', '1.png', '2.png', '3.png', '4.png'])
    labels = write_label_file(tmp_path / 'dataset.json', counted_labels())
    assert run('import', labels, '--images', images, '-o', tmp_path / 'out.json') == 1
    told = f'each second one of a mirror image, but 2.png in {images} is not called 1_mirror.png'
    assert capsys.readouterr().err == f'frex: error: {tmp_path}/dataset.json: numbers its 6 labels, {told}\n'


def test_labels_of_an_images_own_counted_name_stay(tmp_path, capsys):
    """Images may have numbered names themselves, as those of `frex synthesize` and of EG3D's zip have."""
    images = write_images(tmp_path / 'faces', counted_labels())
    labels = write_label_file(tmp_path / 'dataset.json', counted_labels())
    assert run('import', labels, '--images', images, '-o', tmp_path / 'out.json') == 0
    assert '6 labels by the names of images' in capsys.readouterr().out
    assert drop_bare_names(read_labels(tmp_path / 'out.json').cameras).keys() == counted_labels().keys()


def test_a_mirrored_label_that_is_not_mirrored_is_told(tmp_path, capsys):
    labels = named_labels() | {'00001_mirror.png': FFHQ_CAMERAS['00001.png']}
    assert run('import', write_label_file(tmp_path / 'dataset.json', labels), '-o', tmp_path / 'out.json') == 0
    assert 'labels of mirror images that are not the mirrored ones: 1 (00001_mirror.png)' in capsys.readouterr().out


# The first rotation of the dataset.json that EG3D publishes, in its float32 numbers.
EG3D_ROTATION = np.array(
    [
        [0.9422833919525146, 0.034289587289094925, 0.3330560326576233],
        [0.03984849900007248, -0.9991570711135864, -0.009871904738247395],
        [0.33243677020072937, 0.022573914378881454, -0.9428553581237793],
    ]
)


def camera_with(rotation):
    camera = frontal_camera()[0].numpy().copy()
    camera[:16].reshape(4, 4)[:3, :3] = rotation
    return camera


@pytest.mark.parametrize('rotation', [EG3D_ROTATION, EG3D_ROTATION.round(3)])
def test_rotations_of_eg3d_and_rounded_ones_are_accepted(rotation):
    check_rotations(camera_with(rotation)[None], ['a.png'], 'labels.json')


@pytest.mark.parametrize('rotation', [np.zeros((3, 3)), np.eye(3) * (1, 1, -1), EG3D_ROTATION * 1.01, EG3D_ROTATION.round(1)])
def test_a_camera_that_is_not_a_rotation_is_named(rotation):
    cameras = np.stack([camera_with(EG3D_ROTATION), camera_with(rotation)])
    with pytest.raises(FRExError, match=r'^labels.json: the camera of b.png is not a rotation \(1 such\)'):
        check_rotations(cameras, ['a.png', 'b.png'], 'labels.json')


def test_import_refuses_a_camera_that_is_not_a_rotation(tmp_path, capsys):
    labels = write_label_file(tmp_path / 'dataset.json', named_labels() | {'00001.png': [0.0] * 25})
    assert run('import', labels, '-o', tmp_path / 'out.json') == 1
    assert 'dataset.json: the camera of 00001.png is not a rotation (1 such)' in capsys.readouterr().err
    assert not (tmp_path / 'out.json').exists()


# --- estimate


@pytest.mark.parametrize(('frame', 'crop'), [('eg3d', (1.0, 0.0, 0.0)), ('ffhq', FFHQ_CROP)])
def test_cameras_and_crops_are_estimated(tmp_path, truth, with_dots, capsys, frame, crop):
    cameras, labels = truth
    for name, label in cameras.items():
        write_face(tmp_path / 'faces' / name, label, crop)
    out = tmp_path / 'out.json'
    assert run('estimate', tmp_path / 'faces', '-o', out, '--frame', frame, '--preview', tmp_path / 'drawn') == 0
    assert f'{out}: 3 cameras of 3 images' in capsys.readouterr().out
    estimated = read_labels(out)
    assert drop_bare_names(estimated.cameras).keys() == cameras.keys()
    for name in cameras:
        # A turned head is cropped further to its side.
        np.testing.assert_allclose(estimated.crops[name], crop, atol=0.05)
        assert read_image(tmp_path / 'drawn/faces' / name).shape == (512, 512, 3)
    assert read_image(tmp_path / 'drawn/sheet.png').shape == (256 + 24, 3 * (256 + 6), 3)
    run('compare', labels, out)
    largest = capsys.readouterr().out.splitlines()[-1].split()
    assert largest[0] == 'max'
    assert max(map(float, largest[1:])) < 1.5


def test_an_image_without_a_face_is_named_and_the_rest_goes_on(tmp_path, with_dots, capsys):
    faces = tmp_path / 'faces'
    write_face(faces / 'a.png', camera(5))
    cv2.imwrite(str(faces / 'black.png'), np.zeros((64, 64, 3), np.uint8))
    cv2.imwrite(str(faces / 'wide.png'), np.zeros((64, 90, 3), np.uint8))
    (faces / 'broken.png').write_bytes(b'no image')
    out = tmp_path / 'out.json'
    assert run('estimate', faces, '-o', out, '--frame', 'eg3d') == 1
    printed = capsys.readouterr()
    assert printed.err.count('failed: ') == 3
    assert 'failed: black.png: no face found with a score above 0.5' in printed.err
    assert 'wide.png: 90 x 64 is not square: not an aligned face' in printed.err
    assert 'broken.png: not an image' in printed.err
    assert list(read_labels(out).cameras) == ['a.png']
    assert read_labels(out).unlabelled == {'black.png'}


def test_nothing_is_written_where_no_camera_is_found(tmp_path, with_dots, capsys):
    (tmp_path / 'faces').mkdir()
    cv2.imwrite(str(tmp_path / 'faces/black.png'), np.zeros((64, 64, 3), np.uint8))
    assert run('estimate', tmp_path / 'faces', '-o', tmp_path / 'out.json') == 1
    assert 'no camera could be estimated' in capsys.readouterr().err
    assert not (tmp_path / 'out.json').exists()


def test_labels_are_not_overwritten_unless_asked(tmp_path, truth, with_dots, capsys):
    write_face(tmp_path / 'faces/a.png', camera(5))
    out = tmp_path / 'out.json'
    out.write_text('mine')
    for arguments in (('estimate', tmp_path / 'faces'), ('import', truth[1])):
        assert run(*arguments, '-o', out) == 1
        assert f'{out}: exists already; --overwrite replaces it' in capsys.readouterr().err
        assert out.read_text() == 'mine'
    assert run('estimate', tmp_path / 'faces', '-o', out, '--overwrite') == 0
    assert list(read_labels(out).cameras) == ['a.png']


def test_the_largest_of_several_faces_is_taken():
    class Two(DotDetector):
        def detect(self, image, threshold=0.8):
            small = DetectedFace(np.array([0.0, 0, 40, 40]), 0.99, np.zeros((5, 2)))
            large = DetectedFace(np.array([100.0, 100, 400, 400]), 0.8, np.full((5, 2), 256.0))
            return [small, large]

    assert LandmarkFinder(Two(), None, 0.5).find(np.zeros((64, 64, 3), np.uint8)).tolist() == [[0.5, 0.5]] * 5


def test_the_landmark_network_is_believed_before_the_detector():
    class Network(LandmarkNetwork):
        def __init__(self):
            pass

        def landmarks(self, image):
            return np.full((98, 2), 0.25)

    image = np.zeros((512, 512, 3), np.uint8)
    image[np.arange(5), 0] = np.array(DOTS)[:, None]
    assert LandmarkFinder(DotDetector(), Network(), 0.5).find(image).tolist() == [[0.25, 0.25]] * 5


class LeaningDetector:
    """Replaces the detector: it sees a face in the middle of each image, three pixels too far to the right, and others where given."""

    def __init__(self, *others):
        self.others = others

    def detect(self, image, threshold=0.8):
        landmarks = project_points(in_world(), camera(0)) * 512 + (3, 0)
        box = np.array([100.0, 100, 400, 400])
        return [DetectedFace(box + grow, 0.9, landmarks + move) for grow, move in [((0, 0, 0, 0), (0, 0)), *self.others]]


def test_what_a_detector_leans_to_one_side_cancels_out():
    found = LandmarkFinder(LeaningDetector(), None, 0.5).find(np.zeros((64, 64, 3), np.uint8))
    np.testing.assert_allclose(found, project_points(in_world(), camera(0)), atol=1e-4)


def test_the_mirror_image_of_another_face_is_not_mixed_in():
    finder = LandmarkFinder(LeaningDetector(((0, 0, 9, 9), (120, 0))), None, 0.5)
    found = finder.find(np.zeros((64, 64, 3), np.uint8))
    # The larger one is to the right in the image and in what is no mirror image of it.
    np.testing.assert_allclose(found - project_points(in_world(), camera(0)), [(123 / 512, 0)] * 5, atol=1e-4)


# --- preview


def test_the_axes_of_a_frontal_head_point_right_up_and_at_the_viewer():
    label = frontal_camera()[0].numpy()
    origin, x, y, z = project_axes(label, np.array([1, 0, 0], np.float32)) * 512
    # Between the standard places of the eyes, (187.7, 192.3) and (324.0, 192.4).
    np.testing.assert_allclose(origin, [255.9, 192.4], atol=6)
    assert x[0] - origin[0] > 60 > 1 > abs(x[1] - origin[1])
    assert origin[1] - y[1] > 60 > 1 > abs(y[0] - origin[0])
    assert np.abs(z - origin).max() < 6
    in_ffhq = project_axes(label, np.array(FFHQ_CROP, np.float32))
    np.testing.assert_allclose(in_ffhq[0] * 512, [(origin[0] + 22) / 1.083, (origin[1] + 66) / 1.083], atol=0.01)


def test_previews_are_drawn_in_the_colours_of_the_axes(tmp_path, truth, capsys):
    cameras, labels = truth
    for name, label in cameras.items():
        write_face(tmp_path / 'faces' / name, label)
    assert run('preview', tmp_path / 'faces', labels, '-o', tmp_path / 'drawn') == 0
    drawn = read_image(tmp_path / 'drawn/faces/a.png')
    origin, *ends = project_axes(cameras['a.png'].astype(np.float32), np.array([1, 0, 0], np.float32)) * 512
    (x, y), (up_x, up_y) = (0.5 * (origin + end) for end in ends[:2])
    assert drawn[round(y), round(x)].tolist() == [0, 0, 255]
    assert drawn[round(up_y), round(up_x)].tolist() == [0, 200, 0]
    assert 'previews: 3 in' in capsys.readouterr().out
    assert run('preview', tmp_path / 'faces', labels, '-o', tmp_path / 'drawn') == 1
    assert 'previews exist already' in capsys.readouterr().err


def test_previews_are_evenly_from_among_the_images_with_a_label(tmp_path, capsys):
    names = [f'{number}.png' for number in range(7)]
    for name in names:
        write_face(tmp_path / 'faces' / name, camera(0))
    labels = write_label_file(tmp_path / 'labels.json', dict.fromkeys(names, camera(0)))
    content = json.loads(labels.read_text())
    content['labels'][0][1] = None
    labels.write_text(json.dumps(content))
    assert run('preview', tmp_path / 'faces', labels, '-n', 2, '-o', tmp_path / 'drawn') == 0
    assert {path.name for path in (tmp_path / 'drawn/faces').iterdir()} == {'1.png', '6.png'}
    assert run('preview', tmp_path / 'faces', labels, '-n', 0, '-o', tmp_path / 'other') == 1
    assert capsys.readouterr().err == 'frex: error: --num 0: at least 1 is needed\n'


def test_an_image_without_a_label_is_named(tmp_path, truth, capsys):
    write_face(tmp_path / 'faces/a.png', camera(0))
    write_face(tmp_path / 'faces/other.png', camera(0))
    assert run('preview', tmp_path / 'faces', truth[1], '-o', tmp_path / 'drawn') == 1
    assert 'failed: other.png: no label' in capsys.readouterr().err
    assert (tmp_path / 'drawn/faces/a.png').exists()


def test_without_a_preview_no_contact_sheet_is_named(tmp_path, truth, capsys):
    (tmp_path / 'faces').mkdir()
    (tmp_path / 'faces/a.png').write_bytes(b'damaged')
    assert run('preview', tmp_path / 'faces', truth[1], '-o', tmp_path / 'drawn') == 1
    assert f'previews: none in {tmp_path / "drawn"}' in capsys.readouterr().out


# --- compare


def test_angle_errors_are_those_by_which_cameras_were_turned(tmp_path, capsys):
    ours = {'a.png': camera(0), 'b.png': camera(0), 'c.png': camera(0), 'only.png': camera(0)}
    theirs = {'a.png': camera(10), 'x/b.png': camera(0, -20), 'c.png': camera(0, 0, 6), 'new.png': camera(0)}
    assert run('compare', write_label_file(tmp_path / 'a.json', ours), write_label_file(tmp_path / 'b.json', theirs)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[1:]] == [
        ['IMAGE', 'YAW', 'PITCH', 'ROLL', 'ROTATION'],
        ['a.png', '+10.0', '+0.0', '+0.0', '10.0'],
        ['b.png', '+0.0', '-20.0', '+0.0', '20.0'],
        ['c.png', '+0.0', '+0.0', '+6.0', '6.0'],
        ['mean', '3.3', '6.7', '2.0', '12.0'],
        ['median', '0.0', '0.0', '0.0', '10.0'],
        ['max', '10.0', '20.0', '6.0', '20.0'],
        ['only', 'in', f'{tmp_path}/a.json:', '1', '(only.png)'],
        ['only', 'in', f'{tmp_path}/b.json:', '1', '(new.png)'],
    ]


def test_names_are_matched_without_folders_only_where_that_is_clear():
    one, two = np.zeros(3), np.ones(3)
    assert match_labels({'a.png': one}, ['x/a.png']) == {'x/a.png': one}
    assert match_labels({'a.png': one}, ['x/a.png', 'y/a.png']) == {}
    assert match_labels({'a.png': one, 'x/a.png': two}, ['a.png', 'x/a.png']) == {'a.png': one, 'x/a.png': two}


# --- bad input


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('import', 'nowhere.json', '-o', 'out.json'), 'camera_labels: nowhere.json cannot be read'),
        (('import', 'truth.json', '-o', 'no/out.json'), 'no/out.json: no folder no'),
        (('import', 'truth.json', '-o', 'out.json', '--cropping_params', 'nowhere.json'), 'cropping_params: nowhere.json cannot be read'),
        (('import', 'truth.json', '-o', 'out.json', '--cropping_params', 'list.json'), 'cropping_params: list.json is not EG3D'),
        (('import', 'truth.json', '-o', 'out.json', '--cropping_params', 'truth.json'), 'cropping_params: truth.json: labels is no entry'),
        (('import', 'truth.json', '-o', 'out.json', '--cropping_params', 'other.json'), 'other.json: no name of it is in the labels'),
        (('import', 'truth.json', '-o', 'out.json', '--cropping_params', 'flat.json'), 'cropping_params: flat.json: a.png is no entry'),
        (('import', 'empty.json', '-o', 'out.json'), 'empty.json: has no labels'),
        (('import', 'truth.json', '-o', 'out.json', '--images', 'nowhere'), '--images: no folder nowhere'),
        (('import', 'truth.json', '-o', 'out.json', '--images', 'faces'), 'faces: none of its images has a label'),
        (('estimate', 'nowhere', '-o', 'out.json'), 'FOLDER: no folder nowhere'),
        (('estimate', 'faces', '-o', 'out.json', '--det_threshold', 'nan'), '--det_threshold nan: must be at least 0'),
        (('estimate', 'faces', '-o', 'out.json', '--device', 'abacus'), '--device abacus: not usable here'),
        (('estimate', 'faces', '-o', 'out.json', '--preview', 'truth.json'), 'truth.json: cannot be made'),
        (('preview', 'faces', 'truth.json', '-o', 'drawn'), 'truth.json: no label for any image of faces'),
        (('compare', 'truth.json', 'empty.json'), 'truth.json and empty.json share no name'),
    ],
    ids=lambda value: value if isinstance(value, str) else ' '.join(value),
)
def test_bad_input_is_one_line_and_status_1(tmp_path, truth, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    write_face(tmp_path / 'faces/unknown.png', camera(0))
    (tmp_path / 'list.json').write_text('[]')
    (tmp_path / 'empty.json').write_text('{"labels": []}')
    write_cropping_params(tmp_path / 'other.json', other=cropping_entry(700 + 300 * SYMMETRIC[:, :2]))
    write_cropping_params(tmp_path / 'flat.json', a=cropping_entry(np.full((5, 2), 700)))
    assert run(*arguments) == 1
    printed = capsys.readouterr().err.strip()
    assert printed.startswith(f'frex: error: {message}')
    assert '\n' not in printed
    assert not (tmp_path / 'out.json').exists()

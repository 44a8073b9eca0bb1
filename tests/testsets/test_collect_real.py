"""`frex collect-real`: faces of photographs are detected, measured, filtered and selected at random."""

import hashlib
import json
import shutil

import cv2
import msgspec
import numpy as np
import pytest
from scipy.ndimage import laplace

from frex.cli.main import main
from frex.data.labels import read_labels, view_angles_in_degrees
from frex.errors import FRExError
from frex.images import read_image
from frex.restore.detection.align import TEMPLATE_512
from frex.restore.detection.detector import DetectedFace
from frex.restore.detection.retinaface import FaceDetector
from frex.testsets.face_quality import (
    aligned_correlation,
    hash_distance,
    hash_face,
    measure_fraction_inside,
    measure_sharpness,
    shrink_to_grey,
)
from frex.testsets.scan import FoundFace, ScannedImage, compute_duplicate_features
from frex.testsets.select_faces import Limits, select_faces
from frex.testsets.wider import WiderFace, intersection_over_union, lookup_by_path, match_annotation, read_wider

SIDE, HEIGHT = 64, 150
FACE = FoundFace(name='a_00', box=[0, 0, 50, 50], score=0.99, landmarks=[], size=50, side=80, inside=1, sharpness=10, hash='0' * 32)
FACE.mirrored_hash = 'f' * 32
WIDER = WiderFace(0, 0, 50, 50, blur=0, expression=0, illumination=0, invalid=0, occlusion=0, pose=0)


def texture(seed, size=SIDE):
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)


class Squares:
    """Replaces the detector: it knows images by their width and the faces in them, whose aligned squares have SIDE pixels."""

    key = 'squares'

    def __init__(self):
        self.faces, self.calls = {}, 0

    def draw(self, path, *faces):
        """Return an image with a face at each (left, top), whose texture depends on its seed."""
        width = 200 + len(self.faces)
        image = np.full((HEIGHT, width, 3), 90, np.uint8)
        for left, top, seed in faces:
            image[top : top + SIDE, left : left + SIDE] = texture(seed)
        self.faces[width] = [(left, top) for left, top, _ in faces]
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image)
        return image

    def detect(self, image, threshold=0.8):
        self.calls += 1
        places = self.faces.get(image.shape[1], []) if image.shape[0] == HEIGHT else []
        faces = [np.array(place) + np.array(TEMPLATE_512) * SIDE / 512 for place in places]
        boxes = [np.array([left + 14, top + 15, left + 50, top + 59], float) for left, top in places]
        return [DetectedFace(box, 0.99, face) for box, face in zip(boxes, faces, strict=True)]


@pytest.fixture
def squares(tmp_path, monkeypatch):
    detector = Squares()
    (tmp_path / 'squares.pth').touch()
    monkeypatch.setattr(FaceDetector, 'from_weights', lambda weights, device: detector)
    monkeypatch.setattr('frex.testsets.collect.obtain_file', lambda key, weights: tmp_path / 'squares.pth')
    return detector


@pytest.fixture
def photos(squares, tmp_path):
    """Write four images with six faces; the last two faces look alike, and two images have the same bytes."""
    folder = tmp_path / 'photos'
    squares.draw(folder / 'a.png', (5, 7, 1), (100, 60, 2))
    squares.draw(folder / 'deep/b.png', (20, 20, 3))
    squares.draw(folder / 'deep/c.png', (40, 30, 4), (110, 10, 4))
    shutil.copy(folder / 'deep/b.png', folder / 'same.png')
    return folder


def run(*arguments):
    return main(['collect-real', *map(str, arguments), '--device', 'cpu'])


def manifest(out):
    return json.loads((out / 'manifest.json').read_text())


# --- What is measured


def test_sharpness_is_the_variance_of_the_laplacian_of_the_middle():
    face = texture(0, 256)
    grey = cv2.cvtColor(face, cv2.COLOR_BGR2GRAY).astype(float)
    assert measure_sharpness(face) == pytest.approx(laplace(grey, mode='mirror')[64:192, 64:192].var(), rel=1e-9)
    framed = face.copy()
    framed[:40] = 0
    assert measure_sharpness(framed) == measure_sharpness(face)
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    assert measure_sharpness(cv2.GaussianBlur(noise, (0, 0), 2)) < 0.01 * measure_sharpness(noise)


@pytest.mark.parametrize(('left', 'top', 'share'), [(10, 10, 1.0), (-50, 10, 0.5), (-50, -50, 0.25), (180, 10, 0.2)])
def test_the_share_inside_is_that_of_the_squares_area(left, top, share):
    scale = 256 / 100
    matrix = np.array([[scale, 0, -left * scale], [0, scale, -top * scale]])
    assert measure_fraction_inside(matrix, 256, width=200, height=150) == pytest.approx(share, rel=1e-6)


def test_a_hash_compares_each_cell_with_its_neighbours():
    grey = cv2.GaussianBlur(cv2.cvtColor(texture(1, 256), cv2.COLOR_BGR2GRAY), (0, 0), 8)
    cells = cv2.resize(grey, (9, 9), interpolation=cv2.INTER_AREA).astype(int)
    right = [cells[y, x] > cells[y, x + 1] for y in range(8) for x in range(8)]
    below = [cells[y, x] > cells[y + 1, x] for y in range(8) for x in range(8)]
    assert hash_face(texture(1, 256)) == f'{int("".join(str(int(bit)) for bit in right + below), 2):032x}'


def test_hashes_of_one_face_are_near_and_of_two_are_far():
    face = texture(1, 256)
    _, data = cv2.imencode('.jpg', cv2.resize(face, (60, 60), interpolation=cv2.INTER_AREA), [cv2.IMWRITE_JPEG_QUALITY, 40])
    small = cv2.resize(cv2.imdecode(data, cv2.IMREAD_COLOR), (256, 256), interpolation=cv2.INTER_CUBIC)
    brighter = cv2.convertScaleAbs(face, alpha=0.8, beta=30)
    assert hash_distance(hash_face(face), hash_face(face)) == 0
    assert max(hash_distance(hash_face(face), hash_face(other)) for other in (small, brighter)) <= Limits().hash_distance
    assert hash_distance(hash_face(face), hash_face(texture(2, 256))) > 2 * Limits().hash_distance
    assert hash_distance('0f', '11') == 4


# --- WIDER FACE


def test_annotations_are_read_as_they_are_published(tmp_path):
    lines = ['0--Parade/a.jpg', '2', '10 20 30 40 2 0 1 0 1 1', '1 2 3 4 0 0 0 1 2 0 ', '0--Parade/none.jpg', '0', '0 0 0 0 0 0 0 0 0 0']
    lines += ['1--Handshaking/none.jpg', '0', '1--Handshaking/b.jpg', '1', '5 6 7 8 1 1 0 0 0 0', '']
    (tmp_path / 'wider.txt').write_text('\n'.join(lines))
    read = read_wider(tmp_path / 'wider.txt')
    assert list(read) == ['0--Parade/a.jpg', '0--Parade/none.jpg', '1--Handshaking/none.jpg', '1--Handshaking/b.jpg']
    assert [len(faces) for faces in read.values()] == [2, 0, 0, 1]
    first, second = read['0--Parade/a.jpg']
    assert (first.blur, first.expression, first.illumination, first.invalid, first.occlusion, first.pose) == (2, 0, 1, 0, 1, 1)
    assert first.box.tolist() == [10, 20, 40, 60]
    assert (second.invalid, second.occlusion) == (1, 2)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('a.jpg\nmany\n', "line 2: 'many' is not the count of faces of a.jpg"),
        ('a.jpg', "line 2: '' is not the count"),
        ('a.jpg\n1\n1 2 3\n', "line 3: '1 2 3' is not a face, 10 whole numbers"),
        ('a.jpg\n2\n1 2 3 4 0 0 0 0 0 0\n', 'ends within the 2 faces of a.jpg'),
        ('\n', 'names no image'),
    ],
)
def test_damaged_annotations_are_told_with_the_line(tmp_path, text, message):
    (tmp_path / 'wider.txt').write_text(text)
    with pytest.raises(FRExError, match=message):
        read_wider(tmp_path / 'wider.txt')


def test_a_detection_is_the_annotated_face_that_it_overlaps_most():
    box = np.array([0.0, 0, 10, 10])
    assert intersection_over_union(box, np.array([5.0, 0, 15, 10])) == pytest.approx(50 / 150)
    assert intersection_over_union(box, np.array([20.0, 20, 30, 30])) == 0
    faces = [WiderFace(6, 0, 10, 10, 0, 0, 0, 0, 0, 0), WiderFace(1, 0, 10, 10, 2, 0, 0, 0, 0, 0)]
    assert match_annotation(box, faces) is faces[1]
    assert match_annotation(box, faces[:1]) is None
    assert match_annotation(box, []) is None


def test_images_are_annotated_by_the_end_of_their_path():
    annotations = {'0--Parade/a.jpg': 1}
    assert lookup_by_path(annotations, '/data/WIDER_val/images/0--Parade/a.jpg') == 1
    assert lookup_by_path(annotations, '/data/other/a.jpg') is None


# --- Which faces are taken


@pytest.mark.parametrize(
    ('limits', 'changes', 'reason'),
    [
        ({}, {}, None),
        ({}, {'problem': 'no'}, 'landmarks fit no face'),
        ({'min_face': 51}, {}, 'below --min_face'),
        ({'max_face': 49}, {}, 'above --max_face'),
        ({'min_inside': 0.9}, {'inside': 0.8}, 'below --min_inside'),
        ({'min_sharpness': 11}, {}, 'below --min_sharpness'),
        ({'max_sharpness': 9}, {}, 'above --max_sharpness'),
        ({}, {'wider': msgspec.structs.replace(WIDER, invalid=1)}, 'invalid by --wider'),
        ({}, {'wider': msgspec.structs.replace(WIDER, occlusion=2)}, 'above --max_occlusion'),
        ({'max_occlusion': 2}, {'wider': msgspec.structs.replace(WIDER, occlusion=2)}, None),
        ({'blur': (1, 2)}, {'wider': WIDER}, 'out of --blur'),
    ],
)
def test_each_limit_is_kept_and_names_its_flag(limits, changes, reason):
    face = msgspec.structs.replace(FACE, **changes)
    assert Limits(**limits).rejection_reason(face, annotated=face.wider is not None) == reason


def test_in_annotated_images_other_faces_are_not_taken():
    assert Limits().rejection_reason(FACE, annotated=True) == 'not annotated by --wider'


def inverse(digits):
    """Return the hash that differs in all bits."""
    return f'{int(digits, 16) ^ (2**128 - 1):032x}'


def found(name, *hashes, **changes):
    faces = [
        msgspec.structs.replace(FACE, name=f'{name}_{number:02d}', hash=digits, mirrored_hash=inverse(digits), small=bytes(1024))
        for number, digits in enumerate(hashes)
    ]
    return msgspec.structs.replace(ScannedImage(name, sha256=name, faces=faces), **changes)


def hashes(count):
    """Return random hashes, which are far from one another."""
    return [np.random.default_rng(number).bytes(16).hex() for number in range(count)]


def test_who_is_taken_does_not_depend_on_the_order_and_grows_with_the_number():
    scanned = [found(f'p{number}', one, other) for number, (one, other) in enumerate(zip(hashes(20)[::2], hashes(20)[1::2], strict=True))]
    before: set[str] = set()
    for num in range(1, 21):
        names = set(select_faces(scanned, num, Limits(), seed=0).faces)
        assert names == set(select_faces(scanned[::-1], num, Limits(), seed=0).faces)
        assert len(names) == num
        assert before < names
        before = names
    assert set(select_faces(scanned, 5, Limits(), seed=0).faces) != set(select_faces(scanned, 5, Limits(), seed=1).faces)


def test_of_faces_within_the_distance_one_stays():
    base = int(hashes(1)[0], 16)
    near, far = f'{base ^ (2**10 - 1):032x}', f'{base ^ (2**11 - 1):032x}'
    alike = select_faces([found('a', f'{base:032x}'), found('b', near)], 2, Limits(), seed=0)
    assert len(alike.faces) == 1
    assert alike.near_duplicates == {'a_00': 'b_00'} or alike.near_duplicates == {'b_00': 'a_00'}
    assert len(select_faces([found('a', f'{base:032x}'), found('b', far)], 2, Limits(), seed=0).faces) == 2
    assert len(select_faces([found('a', f'{base:032x}'), found('b', f'{base:032x}')], 2, Limits(hash_distance=-1), seed=0).faces) == 2


def measured(name, face):
    """Return a scanned image with one face of this texture."""
    return ScannedImage(name, name, faces=[msgspec.structs.replace(FACE, name=f'{name}_00', **compute_duplicate_features(face))])


def moved(face, *, turn=0.0, scale=1.0, shift=(0, 0)):
    """Return the aligned face of a copy whose landmarks differ a little."""
    matrix = cv2.getRotationMatrix2D((128, 128), turn, scale) + np.array([[0, 0, shift[0]], [0, 0, shift[1]]])
    return cv2.warpAffine(face, matrix, (256, 256), borderMode=cv2.BORDER_REFLECT)


@pytest.mark.parametrize('mirrored', [False, True])
def test_a_copy_whose_landmarks_lie_elsewhere_is_known_by_its_looks(mirrored):
    face = texture(1, 256)
    copy = moved(cv2.flip(face, 1) if mirrored else face, turn=2, scale=0.97, shift=(5, -4))
    one, other = measured('a', face), measured('b', copy)
    told = other.faces[0].mirrored_hash if mirrored else other.faces[0].hash
    assert Limits().hash_distance < hash_distance(one.faces[0].hash, told) <= Limits().hash_distance + 20
    selected = select_faces([one, other], 2, Limits(), seed=0)
    assert len(selected.faces) == len(selected.near_duplicates) == 1
    # Of another look, they are two.
    other.faces[0].small = shrink_to_grey(texture(2, 256))
    assert len(select_faces([one, other], 2, Limits(), seed=0).faces) == 2


def test_a_mirror_image_is_a_near_duplicate():
    face = texture(1, 256)
    assert hash_distance(hash_face(face), hash_face(np.ascontiguousarray(face[:, ::-1]))) > 40
    selected = select_faces([measured('a', face), measured('b', cv2.flip(face, 1))], 2, Limits(), seed=0)
    assert len(selected.faces) == len(selected.near_duplicates) == 1
    assert len(select_faces([measured('a', face), measured('b', cv2.flip(face, 1))], 2, Limits(hash_distance=-1), seed=0).faces) == 2


def test_likeness_is_the_correlation_of_what_lies_on_each_other():
    face = texture(1, 256)
    dimmed = cv2.convertScaleAbs(face, alpha=0.6, beta=20)
    assert aligned_correlation(shrink_to_grey(face), shrink_to_grey(dimmed), mirrored=False) == pytest.approx(1, abs=1e-3)
    assert aligned_correlation(shrink_to_grey(cv2.flip(face, 1)), shrink_to_grey(face), mirrored=True) == pytest.approx(1, abs=1e-3)
    assert aligned_correlation(shrink_to_grey(moved(face, turn=3, scale=0.95)), shrink_to_grey(face), mirrored=False) > 0.97
    assert aligned_correlation(shrink_to_grey(texture(2, 256)), shrink_to_grey(face), mirrored=False) < 0.8
    assert aligned_correlation(bytes(1024), shrink_to_grey(face), mirrored=False) == 0


def test_what_is_not_taken_is_counted():
    one, two, three, four = hashes(4)
    scanned = [
        found('a', one, two),
        found('b', three, sha256='a'),
        found('c'),
        found('d', problem='damaged'),
        found('e', four, sha256='e'),
    ]
    selected = select_faces(scanned, 1, Limits(per_picture=1), seed=0)
    assert selected.near_duplicates == {'b': 'a'}
    assert {reason: count for reason, count in selected.reasons.items() if count} == {
        'images with the bytes of another': 1,
        'images without a face': 1,
        'images that cannot be read': 1,
        'not drawn': 2,
    }
    both = select_faces(scanned, 3, Limits(per_picture=1), seed=0)
    assert len(both.faces) == 2
    assert both.reasons['above --per_picture'] == 1


# --- The command


def test_faces_are_cut_out_described_and_labelled(photos, tmp_path):
    out = tmp_path / 'set'
    assert run(photos, '-n', 4, '-o', out, '--size', SIDE) == 0
    places = {'a_00': (5, 7, 'a'), 'a_01': (100, 60, 'a'), 'deep/b_00': (20, 20, 'deep/b')}
    names = sorted(path.relative_to(out / 'images').with_suffix('').as_posix() for path in (out / 'images').rglob('*.png'))
    assert len(names) == 4
    assert set(names) - {'deep/c_00', 'deep/c_01'} == set(places)
    labels = read_labels(out / 'images/dataset.json')
    for name, (left, top, photo) in places.items():
        face = read_image(out / f'images/{name}.png')
        source = read_image(photos / f'{photo}.png')
        assert np.abs(face.astype(int) - source[top : top + SIDE, left : left + SIDE]).max() <= 1
        entry = manifest(out)['images'][f'{name}.png']
        assert entry['source'] == str(photos / f'{photo}.png')
        assert entry['sha256'] == hashlib.sha256((out / f'images/{name}.png').read_bytes()).hexdigest()
        assert (entry['size'], entry['inside']) == (44, pytest.approx(1))
        assert entry['side'] == pytest.approx(SIDE, rel=1e-3)
        assert abs(view_angles_in_degrees(labels.cameras[f'{name}.png'])[0]) < 3
    assert sum(manifest(out)['not_taken'].values()) == 2
    assert manifest(out)['near_duplicates']['same'] == 'deep/b'
    assert (out / 'contact_sheet.jpg').exists()


def test_another_try_does_not_look_again(photos, squares, tmp_path, capsys):
    out = tmp_path / 'set'
    assert run(photos, '-n', 5, '-o', out) == 1
    captured = capsys.readouterr()
    assert '--num 5: of 6 faces 4 are left' in captured.err
    assert 'not taken: 1 near-duplicate of another face' in captured.out
    assert [path.name for path in out.iterdir()] == ['scan.jsonl']
    # As a killed process leaves it.
    whole = (out / 'scan.jsonl').read_bytes()
    (out / 'scan.jsonl').write_bytes(whole[:-40])
    calls = squares.calls
    assert run(photos, '-n', 5, '-o', out, '--hash_distance', -1) == 0
    assert squares.calls == calls + 1
    assert (out / 'scan.jsonl').read_bytes() == whole
    before = {path: path.stat().st_mtime_ns for path in (out / 'images').rglob('*')}
    assert run(photos, '-n', 5, '-o', out, '--hash_distance', -1) == 0
    assert {path: path.stat().st_mtime_ns for path in (out / 'images').rglob('*')} == before
    assert run(photos, '-n', 5, '-o', out) == 1
    assert 'was begun with hash_distance -1, not 10' in capsys.readouterr().err


def test_faces_of_a_scan_that_measured_less_are_looked_at_again(photos, squares, tmp_path):
    out = tmp_path / 'set'
    assert run(photos, '-n', 5, '-o', out) == 1
    header, *lines = (out / 'scan.jsonl').read_text().splitlines()
    before = {key: value for key, value in json.loads(header).items() if key != 'measures'}
    (out / 'scan.jsonl').write_text('\n'.join([json.dumps(before, separators=(',', ':')), *lines]) + '\n')
    calls = squares.calls
    assert run(photos, '-n', 4, '-o', out) == 0
    assert squares.calls == calls + len(list(photos.rglob('*.png')))


def test_a_whole_set_is_checked_by_its_sums(photos, tmp_path, capsys):
    out = tmp_path / 'set'
    assert run(photos, '-n', 4, '-o', out) == 0
    name = min(manifest(out)['images'])
    cv2.imwrite(str(out / 'images' / name), texture(9))
    assert run(photos, '-n', 4, '-o', out) == 1
    assert f'{name} is not the image that was written (1 such)' in capsys.readouterr().err
    (out / 'images' / name).unlink()
    assert run(photos, '-n', 4, '-o', out) == 1
    assert f'{name} is no longer there (1 such)' in capsys.readouterr().err


def test_annotations_say_which_faces_are_meant(photos, tmp_path, capsys):
    lines = ['deep/c.png', '2', '54 45 36 44 2 0 0 0 0 0', '124 25 36 44 0 0 0 1 0 0', 'a.png', '1', '19 22 36 44 0 0 0 0 0 0']
    (tmp_path / 'wider.txt').write_text('\n'.join(lines))
    out = tmp_path / 'set'
    assert run(photos, '-n', 2, '-o', out, '--wider', tmp_path / 'wider.txt', '--blur', 0, 2) == 0
    assert manifest(out)['not_taken'] == {
        'images with the bytes of another': 1,
        'not annotated by --wider': 1,
        'invalid by --wider': 1,
        'not drawn': 1,
    }
    assert 'annotated by' in capsys.readouterr().out
    (tmp_path / 'wider.txt').write_text('other.png\n0\n')
    assert run(photos, '-n', 2, '-o', tmp_path / 'new', '--wider', tmp_path / 'wider.txt') == 1
    assert 'names other.png and others, but none of the images' in capsys.readouterr().err
    assert not (tmp_path / 'new').exists()


def test_a_damaged_image_is_named_and_the_others_are_used(photos, tmp_path, capsys):
    (photos / 'broken.png').write_bytes(b'no image')
    assert run(photos, '-n', 4, '-o', tmp_path / 'set') == 0
    assert 'left out: ' in (error := capsys.readouterr().err)
    assert 'broken.png' in error
    assert manifest(tmp_path / 'set')['not_taken']['images that cannot be read'] == 1


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['-n', 0], '--num 0: at least 1'),
        (['-n', 1, '--size', 8], '--size 8: at least 16'),
        (['-n', 1, '--det_threshold', 1], '--det_threshold 1: must be'),
        (['-n', 1, '--min_inside', 2], '--min_inside 2.0: must be from 0 to 1'),
        (['-n', 1, '--hash_distance', 129], '--hash_distance 129: must be'),
        (['-n', 1, '--per_picture', 0], '--per_picture 0: must be at least 1'),
        (['-n', 1, '--wider', 'nowhere.txt'], '--wider: nowhere.txt cannot be read'),
        (['-n', 1, '--seed', -1], '--seed -1'),
    ],
)
def test_a_bad_setting_is_named_and_nothing_is_written(photos, tmp_path, capsys, arguments, message):
    assert run(photos, '-o', tmp_path / 'set', *arguments) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'set').exists()


def test_results_do_not_lie_among_the_photographs(photos, capsys):
    assert run(photos, '-n', 1, '-o', photos / 'set') == 1
    assert 'give a folder outside of it' in capsys.readouterr().err

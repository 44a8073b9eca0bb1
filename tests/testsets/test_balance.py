"""`frex balance`: faces with |yaw| as evenly distributed as a pool allows."""

import hashlib
import json
import math
import shutil
from itertools import product

import cv2
import numpy as np
import pytest
import torch
from labelled_heads import DotDetector, camera, write_face
from torchvision.transforms.functional import normalize

from frex.camera_labels.estimate import LandmarkFinder
from frex.cli.main import main
from frex.data.labels import read_labels, view_angles_in_degrees
from frex.errors import FRExError
from frex.images import read_image
from frex.testsets.even_sampling import choose_evenly, water_fill
from frex.testsets.yaw import HOPENET_KEY, HeadPoseNetwork, YawOptions, build_hopenet, choose_yaw_source, to_hopenet_input
from frex.weights.manifest import WeightFile
from frex_arch.camera import ffhq_intrinsics, look_at, pack_camera

NUM = 40


@pytest.fixture(scope='module')
def pool(tmp_path_factory):
    """Write 120 tiny images in two folders, with labels whose yaw is mostly small."""
    folder = tmp_path_factory.mktemp('pool') / 'faces'
    rng = np.random.default_rng(0)
    yaw = torch.from_numpy(rng.normal(0, 0.25, 120)).float()
    cameras = pack_camera(look_at(yaw, torch.zeros(120)), ffhq_intrinsics()[None])
    labels = []
    for number, label in enumerate(cameras.tolist()):
        name = f'{number % 2}/{number:03d}.png'
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        labels.append([name, label])
    (folder / 'dataset.json').write_text(json.dumps({'labels': labels}))
    return folder


@pytest.fixture(scope='module')
def balanced(pool, tmp_path_factory):
    out = tmp_path_factory.mktemp('balanced') / 'set'
    assert run(pool, '-n', NUM, '-o', out) == 0
    return out


def run(*arguments):
    return main(['balance', *map(str, arguments)])


def record_of(out):
    return json.loads((out / 'balance.json').read_text())


def counts_of(yaw, width=5, bins=20):
    return np.histogram(np.abs(yaw), bins=width * np.arange(bins + 1))[0]


@pytest.mark.parametrize('pool', [(5, 3, 1), (0, 4, 2, 2), (6, 6), (1, 0, 0, 5)])
def test_water_filling_is_the_most_even_of_all_choices(pool):
    for total in range(1, sum(pool) + 1):
        chosen, level = water_fill(np.array(pool), total, range(len(pool)))
        every = [each for each in product(*(range(count + 1) for count in pool)) if sum(each) == total]
        assert tuple(chosen) in every
        assert sum(chosen**2) == min(sum(count**2 for count in each) for each in every)
        assert all(count == most or count >= level for count, most in zip(chosen, pool, strict=True))
        assert max(chosen) <= level + 1


def test_the_papers_numbers_by_hand():
    """Bins of 1200, 900, 500, 200 and 50: the last three are taken whole, and 625 of each of the first two."""
    chosen, level = water_fill(np.array([1200, 900, 500, 200, 50]), 2000, range(5))
    assert chosen.tolist() == [625, 625, 500, 200, 50]
    assert level == 625


def test_the_remainder_goes_to_the_bins_that_lots_put_first():
    assert water_fill(np.array([9, 9, 9, 1]), 12, [3, 2, 0, 1])[0].tolist() == [4, 3, 4, 1]


def test_a_greater_number_takes_the_same_faces_and_more():
    yaw = {str(number): float(degrees) for number, degrees in enumerate(np.random.default_rng(1).normal(0, 15, 60))}
    before: set[str] = set()
    for num in range(1, 61):
        names = set(choose_evenly(yaw, num, 5, seed=2).names)
        assert len(names) == num
        assert before < names
        before = names


def test_who_is_chosen_follows_from_the_seed_not_from_the_order():
    yaw = {str(number): float(number % 30) for number in range(90)}
    shuffled = dict(sorted(yaw.items(), key=lambda item: item[0][::-1]))
    assert choose_evenly(yaw, 20, 5, seed=0).names == choose_evenly(shuffled, 20, 5, seed=0).names
    assert choose_evenly(yaw, 20, 5, seed=0).names != choose_evenly(yaw, 20, 5, seed=1).names


def test_left_and_right_share_a_bin():
    choice = choose_evenly({'left': -7.0, 'right': 7.0, 'front': 0.0}, 2, 5, seed=0)
    assert choice.pool.tolist() == [1, 2]
    assert choice.chosen.tolist() == [1, 1]


def test_exactly_as_many_as_asked_are_chosen_evenly(pool, balanced):
    names = (balanced / 'ids.txt').read_text().split()
    assert len(names) == len(set(names)) == NUM
    labels = read_labels(pool / 'dataset.json').cameras
    all_names = sorted(name for name in labels if '/' in name)
    before = counts_of([view_angles_in_degrees(labels[name])[0] for name in all_names])
    after = counts_of([view_angles_in_degrees(labels[name])[0] for name in names])
    level = record_of(balanced)['level']
    assert ((after == before) | (after == level) | (after == level + 1)).all()
    assert [(entry['pool'], entry['chosen']) for entry in record_of(balanced)['bins']] == [
        each for place, each in enumerate(zip(before.tolist(), after.tolist(), strict=True)) if place < len(record_of(balanced)['bins'])
    ]


def test_an_image_whose_label_is_null_is_left_out(pool, tmp_path, capsys):
    content = json.loads((pool / 'dataset.json').read_text())
    content['labels'][0][1] = None
    (tmp_path / 'some.json').write_text(json.dumps(content))
    assert run(pool, '-n', NUM, '--cameras', tmp_path / 'some.json', '-o', tmp_path / 'set') == 0
    assert record_of(tmp_path / 'set')['left_out'] == {'0/000.png': f'null in {tmp_path}/some.json'}
    assert '1 of 120 images left out' in capsys.readouterr().out


def test_the_chosen_are_copied_with_their_labels(pool, balanced):
    names = (balanced / 'ids.txt').read_text().split()
    images = balanced / 'images'
    assert sorted(path.relative_to(images).as_posix() for path in images.rglob('*.png')) == names
    labels, all_labels = read_labels(images / 'dataset.json').cameras, read_labels(pool / 'dataset.json').cameras
    assert {name for name in labels if '/' in name} == set(names)
    for name in names:
        data = (images / name).read_bytes()
        assert data == (pool / name).read_bytes()
        assert record_of(balanced)['images'][name]['sha256'] == hashlib.sha256(data).hexdigest()
        assert record_of(balanced)['images'][name]['yaw'] == pytest.approx(view_angles_in_degrees(all_labels[name])[0], abs=1e-3)
        np.testing.assert_array_equal(labels[name], all_labels[name])
    assert min(read_image(balanced / 'histogram.png').shape[:2]) > 300
    assert (balanced / 'contact_sheet.jpg').exists()


def test_linked_images_are_those_of_the_pool(pool, balanced, tmp_path):
    assert run(pool, '-n', NUM, '-o', tmp_path / 'set', '--link', '--cameras', pool / 'dataset.json') == 0
    names = (tmp_path / 'set/ids.txt').read_text()
    assert names == (balanced / 'ids.txt').read_text()
    for name in names.split():
        assert (tmp_path / 'set/images' / name).is_symlink()
        assert (tmp_path / 'set/images' / name).samefile(pool / name)


def test_a_whole_set_is_left_alone(pool, balanced, capsys):
    before = {path: path.stat().st_mtime_ns for path in (balanced / 'images').rglob('*')}
    assert run(pool, '-n', NUM, '-o', balanced) == 0
    assert {path: path.stat().st_mtime_ns for path in (balanced / 'images').rglob('*')} == before
    assert run(pool, '-n', NUM + 1, '-o', balanced) == 1
    assert f'was begun with num {NUM}, not {NUM + 1}' in capsys.readouterr().err


def test_a_whole_set_is_checked_by_its_sums(pool, balanced, tmp_path, capsys):
    out = tmp_path / 'set'
    shutil.copytree(balanced, out)
    name = (out / 'ids.txt').read_text().split()[3]
    (out / 'images' / name).write_bytes((out / 'images' / name).read_bytes()[:-1])
    assert run(pool, '-n', NUM, '-o', out) == 1
    assert f'{name} is not the image that was written (1 such); make the set again' in capsys.readouterr().err
    (out / 'images' / name).unlink()
    assert run(pool, '-n', NUM, '-o', out) == 1
    assert f'{name} is no longer there (1 such)' in capsys.readouterr().err


@pytest.mark.parametrize('images', [['a.png'], {'a.png': {}}, {'a.png': 'sum'}])
def test_a_record_without_sums_is_told(pool, balanced, tmp_path, capsys, images):
    shutil.copytree(balanced, tmp_path / 'set')
    (tmp_path / 'set/balance.json').write_text(json.dumps(record_of(balanced) | {'images': images}))
    assert run(pool, '-n', NUM, '-o', tmp_path / 'set') == 1
    assert 'balance.json: damaged, or of another program' in capsys.readouterr().err


def test_a_camera_without_a_rotation_is_refused(pool, tmp_path, capsys):
    labels = json.loads((pool / 'dataset.json').read_text())
    labels['labels'][7][1] = [0.0] * 25
    (tmp_path / 'labels.json').write_text(json.dumps(labels))
    assert run(pool, '-n', 5, '-o', tmp_path / 'set', '--cameras', tmp_path / 'labels.json') == 1
    assert 'labels.json: the camera of 1/007.png is not a rotation (1 such)' in capsys.readouterr().err
    assert not (tmp_path / 'set').exists()


def test_landmarks_stand_in_for_labels_and_faces_without_are_left_out(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(LandmarkFinder, 'from_weights', lambda weights, device, threshold: LandmarkFinder(DotDetector(), None, threshold))
    for yaw in (0, 12, -33):
        write_face(tmp_path / f'pool/{yaw}.png', camera(yaw, 3))
    cv2.imwrite(str(tmp_path / 'pool/nobody.png'), np.zeros((64, 64, 3), np.uint8))
    assert run(tmp_path / 'pool', '-n', 3, '-o', tmp_path / 'set', '--pose', 'landmarks', '--frame', 'eg3d') == 0
    assert 'left out: nobody.png: no face found' in capsys.readouterr().err
    record = record_of(tmp_path / 'set')
    assert list(record['left_out']) == ['nobody.png']
    for yaw in (0, 12, -33):
        assert record['images'][f'{yaw}.png']['yaw'] == pytest.approx(yaw, abs=3)
    assert set(read_labels(tmp_path / 'set/images/dataset.json').cameras) == {'0.png', '12.png', '-33.png'}


@pytest.fixture(scope='module')
def hopenet():
    torch.manual_seed(0)
    return build_hopenet().eval()


def test_hopenet_is_asked_as_its_project_asks_it(hopenet):
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)

    def asked(bgr):
        rgb = torch.from_numpy(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)).permute(2, 0, 1).float() / 255
        with torch.no_grad():
            return hopenet(normalize(rgb, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])[None])[0].item()

    network = HeadPoseNetwork(hopenet, 'cpu')
    assert network.estimate_yaw(image) == pytest.approx((asked(image) - asked(cv2.flip(image, 1))) / 2, abs=1e-3)
    assert network.estimate_yaw(cv2.flip(image, 1)) == pytest.approx(-network.estimate_yaw(image), abs=1e-4)
    assert to_hopenet_input(cv2.resize(image, (512, 512))).shape == (3, 224, 224)


def test_hopenets_file_is_found_and_chosen_before_landmarks(hopenet, manifest_of, tmp_path):
    manifest_of(WeightFile(HOPENET_KEY, 'headpose_hopenet.pth', 'test', ['evaluate'], None, [], 'none', []))
    options = YawOptions(pool=tmp_path, weights=tmp_path)
    assert choose_yaw_source(options) == 'landmarks'
    torch.save({'params': hopenet.state_dict()}, tmp_path / 'headpose_hopenet.pth')
    assert choose_yaw_source(options) == 'hopenet'
    image = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert HeadPoseNetwork.from_weights(tmp_path).estimate_yaw(image) == HeadPoseNetwork(hopenet, 'cpu').estimate_yaw(image)
    (tmp_path / 'dataset.json').touch()
    assert choose_yaw_source(options) == 'labels'
    with pytest.raises(FRExError, match='--pose landmarks: does not use --cameras'):
        choose_yaw_source(YawOptions(pool=tmp_path, pose='landmarks', cameras=tmp_path / 'dataset.json', weights=tmp_path))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['-n', 121], '--num 121: the pool has 120 faces'),
        (['-n', 0], '--num 0: the pool has 120 faces'),
        (['-n', 5, '--bin_degrees', 0], '--bin_degrees 0: from 0.1 to 180'),
        (['-n', 5, '--bin_degrees', 1e-8], '--bin_degrees 1e-08: from 0.1 to 180'),
        (['-n', 5, '--bin_degrees', math.inf], '--bin_degrees inf: from 0.1 to 180'),
        (['-n', 5, '--bin_degrees', math.nan], '--bin_degrees nan: from 0.1 to 180'),
        (['-n', 5, '--seed', -1], '--seed -1'),
        (['-n', 5, '--cameras', 'nowhere.json'], 'nowhere.json: no such file'),
    ],
)
def test_a_bad_setting_is_named_and_nothing_is_written(pool, tmp_path, capsys, arguments, message):
    assert run(pool, '-o', tmp_path / 'set', *arguments) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'set').exists()


def test_an_image_without_label_is_told(pool, tmp_path, capsys):
    labels = json.loads((pool / 'dataset.json').read_text())
    (tmp_path / 'some.json').write_text(json.dumps({'labels': labels['labels'][1:]}))
    assert run(pool, '-n', 5, '-o', tmp_path / 'set', '--cameras', tmp_path / 'some.json') == 1
    assert 'no camera for 1 of 120 images, first 0/000.png' in capsys.readouterr().err

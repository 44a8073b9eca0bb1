"""`frex degrade`: a set of degraded images that depends on seed and names only."""

import hashlib
import json
import shutil

import cv2
import msgspec
import numpy as np
import pytest

from frex.cli.main import main
from frex.data.degradation import PRESETS, DegradationParams, degrade, draw_degradation
from frex.data.labels import read_labels
from frex.images import read_image
from frex.testsets import degrade_folder
from frex.testsets.degrade import restrict_to_severity
from frex_arch.camera import frontal_camera

NAMES = ['deep/er/face4', 'deep/face3', 'face0', 'face1', 'face2']


@pytest.fixture(scope='module')
def faces(face_folder, tmp_path_factory):
    """Write five images in three folders."""
    folder = tmp_path_factory.mktemp('clean') / 'faces'
    shutil.copytree(face_folder, folder)
    (folder / 'deep/er').mkdir(parents=True)
    (folder / 'face3.webp').rename(folder / 'deep/face3.webp')
    (folder / 'face4.bmp').rename(folder / 'deep/er/face4.bmp')
    return folder


@pytest.fixture(scope='module')
def degraded(faces, tmp_path_factory):
    out = tmp_path_factory.mktemp('degraded') / 'set'
    assert degrade_folder(faces, out, seed=3, num_workers=0) == out / 'images'
    return out


def run(*arguments):
    return main(['degrade', *map(str, arguments)])


def contents(out):
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob('*')) if path.is_file()}


def record_of(out):
    return json.loads((out / 'degradations.json').read_text())


def test_the_images_keep_their_names_and_sizes(faces, degraded):
    assert sorted(record_of(degraded)['images']) == [f'{name}.png' for name in NAMES]
    for name, entry in record_of(degraded)['images'].items():
        lq, gt = read_image(degraded / 'images' / name), read_image(faces / entry['gt'])
        assert lq.shape == gt.shape
        assert (lq != gt).mean() > 0.5


@pytest.mark.parametrize('num_workers', [1, 2])
def test_no_byte_depends_on_the_number_of_processes(faces, degraded, tmp_path, num_workers):
    assert run(faces, '-o', tmp_path / 'set', '--seed', 3, '--num_workers', num_workers) == 0
    assert contents(tmp_path / 'set') == contents(degraded)


def test_no_byte_depends_on_how_the_work_is_shared_out(faces, degraded, tmp_path, capsys):
    for part in (1, 2, 0):
        assert run(faces, '-o', tmp_path / 'set', '--seed', 3, '--num_workers', 0, '--shard', f'{part}/3') == 0
    assert 'shard 1 of 3 is complete; 3 of 5 images are still missing' in capsys.readouterr().out
    assert contents(tmp_path / 'set') == contents(degraded)


def test_an_image_does_not_depend_on_the_others_nor_on_its_format(faces, degraded, tmp_path):
    cv2.imwrite(str(tmp_path / 'clean.bmp'), read_image(faces / 'face1.png'))
    (tmp_path / 'one').mkdir()
    (tmp_path / 'clean.bmp').rename(tmp_path / 'one/face1.bmp')
    images = degrade_folder(tmp_path / 'one', tmp_path / 'set', seed=3, num_workers=0)
    assert (images / 'face1.png').read_bytes() == (degraded / 'images/face1.png').read_bytes()


def test_another_seed_gives_other_draws(faces, degraded, tmp_path):
    degrade_folder(faces, tmp_path / 'set', seed=4, num_workers=0)
    for name, entry in record_of(tmp_path / 'set')['images'].items():
        assert entry['draws'][0]['noise_seed'] != record_of(degraded)['images'][name]['draws'][0]['noise_seed']


def test_images_can_be_made_again_from_the_record(faces, degraded):
    for name, entry in record_of(degraded)['images'].items():
        gt = read_image(faces / entry['gt']).astype(np.float32) / 255
        lq = degrade(gt, [msgspec.convert(once, DegradationParams) for once in entry['draws']])
        np.testing.assert_array_equal((lq * 255).round(), read_image(degraded / 'images' / name))


def test_the_record_holds_the_sums_of_the_files(faces, degraded):
    for name, entry in record_of(degraded)['images'].items():
        assert entry['sha256'] == hashlib.sha256((degraded / 'images' / name).read_bytes()).hexdigest()
        assert entry['gt_sha256'] == hashlib.sha256((faces / entry['gt']).read_bytes()).hexdigest()


def test_the_release_preset_leaves_no_step_out(faces, tmp_path):
    degrade_folder(faces, tmp_path / 'set', preset='release', num_workers=0)
    for entry in record_of(tmp_path / 'set')['images'].values():
        first = entry['draws'][0]
        assert first['motion'][0] in (21, 25, 31, 35, 41, 45, 51, 61, 71)
        assert 4 <= first['downsample'] <= 16
        assert 10 <= first['noise'] <= 50
        assert 50 <= first['jpeg'] <= 100


def test_a_level_of_severity_is_a_fifth_of_each_range():
    worst = restrict_to_severity(PRESETS['paper'], 5)
    assert worst.blur_sigma == pytest.approx((16, 20))
    assert worst.downsample_range == pytest.approx((13, 16))
    assert worst.noise_range == pytest.approx((40, 50))
    assert worst.jpeg_range == (50, 60)
    assert (min(worst.motion_sizes), max(worst.motion_sizes)) == pytest.approx((61, 71))
    assert restrict_to_severity(PRESETS['paper'], 1).jpeg_range == (90, 100)


@pytest.mark.parametrize('preset', ['paper', 'release'])
def test_severity_changes_how_much_but_not_which_way(preset):
    ladder = [draw_degradation(restrict_to_severity(PRESETS[preset], level), np.random.default_rng(7)) for level in range(1, 6)]
    assert all(len(draws) == 1 for draws in ladder)
    first, rest = ladder[0][0], [draws[0] for draws in ladder[1:]]
    for once in rest:
        assert once.noise_seed == first.noise_seed
        assert (once.motion[1], once.blur[2]) == (first.motion[1], first.blur[2])
    strengths = np.array([[d[0].motion[0], *d[0].blur[:2], d[0].downsample, d[0].noise, -d[0].jpeg] for d in ladder])
    steps = np.diff(strengths, axis=0)
    assert (steps > 0).all()
    np.testing.assert_allclose(steps, np.broadcast_to(steps[0], steps.shape), rtol=1e-9, atol=1e-9)


def test_an_image_that_is_missing_is_made_again_and_the_others_are_left(faces, degraded, tmp_path):
    out = tmp_path / 'set'
    shutil.copytree(degraded, out)
    (out / 'images/face0.png').unlink()
    times = {path: path.stat().st_mtime_ns for path in (out / 'images').rglob('*.png')}
    degrade_folder(faces, out, seed=3, num_workers=0)
    assert contents(out) == contents(degraded)
    assert all(path.stat().st_mtime_ns == before for path, before in times.items())


@pytest.mark.parametrize('size', [None, 32])
@pytest.mark.parametrize('replaced', ['face0.png', 'face1.png'])
def test_an_image_whose_clean_one_has_changed_since_is_made_again(face_folder, tmp_path, size, replaced):
    faces = tmp_path / 'faces'
    shutil.copytree(face_folder, faces)
    degrade_folder(faces, tmp_path / 'set', size=size, num_workers=0, shard='0/2')
    cv2.imwrite(str(faces / replaced), cv2.flip(read_image(faces / replaced), 1))
    degrade_folder(faces, tmp_path / 'set', size=size, num_workers=0, shard='1/2')
    degrade_folder(faces, tmp_path / 'anew', size=size, num_workers=0)
    assert contents(tmp_path / 'set') == contents(tmp_path / 'anew')


def test_a_share_that_is_resumed_makes_again_what_has_changed_since(face_folder, tmp_path):
    faces, out = tmp_path / 'faces', tmp_path / 'set'
    shutil.copytree(face_folder, faces)
    degrade_folder(faces, out, num_workers=0, shard='0/2')
    done = {path: path.stat().st_mtime_ns for path in (out / 'images').rglob('*.png')}
    cv2.imwrite(str(faces / 'face0.png'), cv2.flip(read_image(faces / 'face0.png'), 1))
    degrade_folder(faces, out, num_workers=0, shard='0/2')
    assert {path.name for path, before in done.items() if path.stat().st_mtime_ns != before} == {'face0.png'}
    # A line that a kill cut off is of nothing that is known to be whole.
    journal = next(out.glob('.degradations.json.*.jsonl'))
    journal.write_bytes(journal.read_bytes()[:-9])
    degrade_folder(faces, out, num_workers=0, shard='1/2')
    degrade_folder(faces, tmp_path / 'anew', num_workers=0)
    assert contents(out) == contents(tmp_path / 'anew')


def test_a_whole_set_is_not_made_of_other_clean_images(face_folder, tmp_path, capsys):
    faces, out = tmp_path / 'faces', tmp_path / 'set'
    shutil.copytree(face_folder, faces)
    degrade_folder(faces, out, size=32, num_workers=0)
    before = contents(out)
    (out / 'gt/face1.png').write_bytes(before['gt/face0.png'])
    assert run(faces, '-o', out, '--size', 32) == 1
    assert 'face1.png: the copy of the clean image face1.png has changed since the set was made' in capsys.readouterr().err
    (out / 'gt/face1.png').write_bytes(before['gt/face1.png'])
    cv2.imwrite(str(faces / 'face1.png'), cv2.flip(read_image(faces / 'face1.png'), 1))
    assert run(faces, '-o', out, '--size', 32) == 1
    assert 'the clean image face1.png has changed since the set was made; give a new folder' in capsys.readouterr().err
    assert contents(out) == before


def test_with_a_size_the_clean_images_are_written_too(faces, tmp_path):
    out = tmp_path / 'set'
    assert run(faces, '-o', out, '--size', 32, '--num_workers', 0) == 0
    for name in NAMES:
        assert read_image(out / f'images/{name}.png').shape == (32, 32, 3)
    averaged = cv2.resize(read_image(faces / 'face1.png'), (32, 32), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(read_image(out / 'gt/face1.png'), averaged)


def test_labels_go_with_their_images(face_folder, tmp_path):
    shutil.copytree(face_folder, tmp_path / 'faces')
    camera = frontal_camera()[0].tolist()
    labels = {'labels': [['face2.jpg', camera], ['face1.png', None]], 'crops': [['face2.jpg', [1.1, 0.0, -0.1]]]}
    (tmp_path / 'faces/dataset.json').write_text(json.dumps(labels))
    images = degrade_folder(tmp_path / 'faces', tmp_path / 'set', num_workers=0)
    read = read_labels(images / 'dataset.json')
    assert set(read.cameras) == set(read.crops) == {'face2.png'}
    assert read.unlabelled == {'face1.png'}
    np.testing.assert_allclose(read.cameras['face2.png'], camera, rtol=1e-6)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--preset', 'papr'], "did you mean 'paper'?"),
        (['--severity', '6'], '--severity 6: a whole number from 1 to 5 is needed'),
        (['--seed', '-1'], '--seed -1: a whole number'),
        (['--size', '0'], '--size 0: at least 1 is needed'),
        (['--num_workers', '-1'], '--num_workers -1: at least 0 is needed'),
        (['--shard', '3/3'], '--shard 3/3: I/N is needed'),
    ],
)
def test_a_bad_setting_is_named_and_nothing_is_written(faces, tmp_path, capsys, arguments, message):
    assert run(faces, '-o', tmp_path / 'set', *arguments) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'set').exists()


def test_a_set_is_not_mixed_with_another_nor_with_anything_else(faces, degraded, tmp_path, capsys):
    before = contents(degraded)
    assert run(faces, '-o', degraded, '--seed', 4) == 1
    assert 'was begun with seed 3, not 4' in capsys.readouterr().err
    (tmp_path / 'notes.txt').touch()
    assert run(faces, '-o', tmp_path) == 1
    assert 'holds notes.txt but no degradations.json' in capsys.readouterr().err
    assert run(faces, '-o', faces / 'deep') == 1
    assert 'give a folder outside of it' in capsys.readouterr().err
    assert contents(degraded) == before


def test_an_image_that_is_not_what_was_made_is_told(faces, degraded, tmp_path, capsys):
    out = tmp_path / 'set'
    shutil.copytree(degraded, out)
    shutil.copy(out / 'images/face1.png', out / 'images/face0.png')
    assert run(faces, '-o', out, '--seed', 3) == 1
    assert 'face0.png: this image has changed since the set was made' in capsys.readouterr().err
    shutil.copy(out / 'images/face1.png', out / 'images/other.png')
    assert run(faces, '-o', out, '--seed', 3) == 1
    assert 'holds other.png, which is not of this set' in capsys.readouterr().err


def test_what_is_no_aligned_face_is_told_by_its_name(faces, tmp_path, capsys):
    shutil.copytree(faces, tmp_path / 'faces')
    cv2.imwrite(str(tmp_path / 'faces/wide.png'), np.zeros((8, 9, 3), np.uint8))
    assert run(tmp_path / 'faces', '-o', tmp_path / 'set', '--num_workers', 2) == 1
    error = capsys.readouterr().err
    assert 'wide.png: 9 x 8 is not square' in error
    assert len(error.splitlines()) == 1
    shutil.copy(faces / 'face1.png', tmp_path / 'faces/face2.png')
    assert run(tmp_path / 'faces', '-o', tmp_path / 'set') == 1
    assert 'face2.jpg and face2.png differ in their suffix alone' in capsys.readouterr().err

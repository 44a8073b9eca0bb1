"""`frex evaluate`: which images are compared, their scores, and the report."""

import csv
import hashlib
import json
import math
import os
import shutil

import cv2
import numpy as np
import pytest
import scipy.linalg
import torch

from frex.cli.main import main
from frex.data.labels import write_labels
from frex.errors import FRExError
from frex.evaluation import Settings, evaluate, to_csv, to_json, to_markdown
from frex.evaluation import fid as evaluation_fid
from frex.evaluation.best_and_worst import select_best_and_worst
from frex.evaluation.costs import read_cost
from frex.evaluation.inputs import compute_image_stats, list_image_folder
from frex.evaluation.markdown import format_cell, rank_marks
from frex.evaluation.plots import draw_plots
from frex.evaluation.results import Row, Summary
from frex.evaluation.scoring import ComputeOptions, ImagePairs, Scorer, iterate_batches
from frex.evaluation.summaries import bootstrap_interval, summarize_scores
from frex.evaluation.yaw_bins import make_bins
from frex.images import read_image
from frex.metrics.catalogue import METRICS
from frex.metrics.feature_statistics import FeatureStatistics
from frex_arch.camera import ffhq_intrinsics, look_at, pack_camera

SIZE = 24
NAN = math.nan
QUICK = Settings(metrics=('psnr',), num_workers=0, device='cpu')


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)


def clean(number, size=SIZE):
    return np.random.default_rng(number).integers(60, 190, (size, size, 3), dtype=np.uint8)


def off_by(image, step):
    """Return the image with every value increased by `step`, so that the PSNR is 20 log10(255 / step)."""
    return (image + np.uint8(step)).astype(np.uint8)


def decibels(*steps):
    return float(np.mean([20 * math.log10(255 / step) for step in steps]))


@pytest.fixture
def folders(tmp_path):
    """Write clean images of several formats and folders, and two methods: errors of A are 2, 4, 6, 8, of B 3, 4, 5, 6."""
    names = ('a/one.png', 'a/two.bmp', 'b/one.png', 'three.png')
    for number, name in enumerate(names):
        write(tmp_path / 'gt' / name, clean(number))
        for method, first, step in (('A', 2, 2), ('B', 3, 1)):
            write((tmp_path / method / name).with_suffix('.png'), off_by(clean(number), first + step * number))
    return tmp_path


@pytest.fixture(autouse=True)
def _no_weights(monkeypatch, tmp_path):
    monkeypatch.setattr('frex.weights.locate.search_paths', lambda folder=None: [folder or tmp_path / 'nowhere'])


def run(folder, *arguments, methods=('A', 'B')):
    restored = [f'{name}={folder / name}' for name in methods]
    command = ['evaluate', '--restored', *restored, '--gt', folder / 'gt', '--device', 'cpu', '--num_workers', '0', *arguments]
    return main([str(argument) for argument in command])


def labels(folder, yaw):
    """Write a file of cameras that look at the origin from the given yaw in degrees, by name."""
    angles = torch.tensor(list(yaw.values())).deg2rad()
    cameras = pack_camera(look_at(angles, torch.zeros_like(angles), pivot=(0.0, 0.0, 0.0)), ffhq_intrinsics()[None]).tolist()
    write_labels(folder / 'dataset.json', dict(zip(yaw, cameras, strict=True)), {})
    return folder / 'dataset.json'


def rows_of(evaluation):
    return {row.name: row for row in evaluation.rows}


def mean(evaluation, name, key='psnr', number=0):
    return rows_of(evaluation)[name].summaries[key][number].mean


# --- Which images are compared


def test_pictures_are_matched_by_name_whatever_their_suffix_and_order(folders):
    found = evaluate({'A': [folders / 'A'], 'B': [folders / 'B']}, folders / 'gt', settings=QUICK)
    assert found.names == ('a/one', 'a/two', 'b/one', 'three')
    assert mean(found, 'A') == pytest.approx(decibels(2, 4, 6, 8))
    np.testing.assert_allclose(rows_of(found)['B'].runs[0].scores['psnr'], [decibels(step) for step in (3, 4, 5, 6)])


def test_the_first_face_of_a_picture_is_the_picture(folders):
    for path in sorted((folders / 'A').rglob('*.png')):
        path.rename(path.with_name(f'{path.stem}_00.png'))
    found = evaluate({'A': [folders / 'A']}, folders / 'gt', settings=QUICK)
    assert mean(found, 'A') == pytest.approx(decibels(2, 4, 6, 8))


def test_differences_are_told_both_ways(folders, capsys):
    (folders / 'A/a/two.png').rename(folders / 'A/a/2.png')
    (folders / 'B/three.png').unlink()
    assert run(folders) == 1
    told = capsys.readouterr().err
    assert f'A ({folders / "A"}) lacks 1 of GT (a/two) and has 1 that GT lacks (a/2); B ({folders / "B"}) lacks 1 of GT (three)' in told
    assert 'the 2 that all have with --partial' in told


def test_partial_compares_what_all_have_and_says_what_is_left_out(folders, capsys):
    (folders / 'B/three.png').unlink()
    assert run(folders, '--partial', '--metrics', 'psnr', '--json', folders / 'o.json') == 0
    assert '- left out: B' in capsys.readouterr().out
    told = json.loads((folders / 'o.json').read_text())
    assert told['pictures'] == ['a/one', 'a/two', 'b/one']
    assert told['left_out'] == [{'role': 'B', 'missing': ['three'], 'extra': []}]
    assert told['rows'][0]['summaries']['psnr'][0]['mean'] == pytest.approx(decibels(2, 4, 6))


def test_folders_without_a_common_picture_are_refused_even_in_part(folders, capsys):
    (folders / 'A').rename(folders / 'images')
    (folders / 'A').mkdir()
    (folders / 'images').rename(folders / 'A/images')
    assert run(folders, '--partial', methods=['A']) == 1
    assert f'give {folders / "A/images"}?' in capsys.readouterr().err


def test_two_pictures_of_one_name_are_refused(folders, capsys):
    write(folders / 'A/three.jpg', clean(3))
    assert run(folders) == 1
    assert 'three.jpg, three.png, which have one name' in capsys.readouterr().err


def test_nothing_is_resized_unasked(folders, capsys):
    write(folders / 'B/b/one.png', clean(2, 2 * SIZE))
    assert run(folders, '--json', folders / 'o.json') == 1
    told = capsys.readouterr().err
    assert f'{folders / "B/b/one.png"}: is 48 x 48, its clean image {folders / "gt/b/one.png"} 24 x 24 (1 of 4 images of B)' in told
    assert not (folders / 'o.json').exists()


def test_a_picture_that_lies_on_its_side_is_measured_upright(tmp_path):
    upright = cv2.imencode('.jpg', np.zeros((20, 30, 3), np.uint8))[1].tobytes()
    # An APP1 segment whose only entry is orientation 6.
    exif = b'Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0'
    (tmp_path / 'turned.jpg').write_bytes(upright[:2] + b'\xff\xe1' + (len(exif) + 2).to_bytes(2, 'big') + exif + upright[2:])
    stats = compute_image_stats(list_image_folder('GT', tmp_path), ['turned'])
    assert stats.sizes == (read_image(tmp_path / 'turned.jpg').shape[1::-1],) == ((20, 30),)


def test_a_kind_that_pillow_does_not_know_is_named_by_its_file(folders, capsys):
    cv2.imwrite(str(folders / 'A/three.tiff'), np.zeros((SIZE, SIZE, 3), np.float32))
    (folders / 'A/three.png').unlink()
    assert run(folders) == 1
    told = capsys.readouterr().err
    assert f'{folders / "A/three.tiff"}: cannot be read as an image (damaged, or of a kind that Pillow does not know)' in told
    assert 'BytesIO' not in told


@pytest.mark.parametrize('kept', [0, 7, 45, 900])
def test_a_damaged_picture_is_named_before_anything_is_calculated(folders, capsys, kept):
    (folders / 'A/three.png').write_bytes((folders / 'A/three.png').read_bytes()[:kept])
    assert run(folders) == 1
    assert f'{folders / "A/three.png"}: cannot be read as an image' in capsys.readouterr().err


def test_a_worker_names_a_picture_that_it_cannot_read(folders):
    (folders / 'A/three.png').write_bytes(b'no image')
    pairs = ImagePairs([folders / 'A/three.png'], [folders / 'gt/three.png'], False, (), None)
    with pytest.raises(FRExError, match=r'^\S*A/three\.png: not an image, or a damaged one$'):
        list(iterate_batches(pairs, batch_size=1, num_workers=1))


# --- Scores


def test_gt_is_always_there_and_bilinear_where_there_are_degraded_pictures(folders):
    for name in ('a/one', 'a/two', 'b/one', 'three'):
        write(folders / 'lq' / f'{name}.png', clean(9, 7))
    plain = evaluate({'A': [folders / 'A']}, folders / 'gt', settings=QUICK)
    assert [row.name for row in plain.rows] == ['A', 'GT']
    assert mean(plain, 'GT') == math.inf
    found = evaluate({'A': [folders / 'A']}, folders / 'gt', folders / 'lq', settings=QUICK)
    assert [(row.name, row.is_reference) for row in found.rows] == [('bilinear', True), ('A', False), ('GT', True)]
    grown = cv2.resize(clean(9, 7), (SIZE, SIZE), interpolation=cv2.INTER_LINEAR).astype(float)
    errors = [np.mean((grown - clean(number)) ** 2) for number in range(4)]
    assert mean(found, 'bilinear') == pytest.approx(np.mean([10 * np.log10(255**2 / error) for error in errors]))


def test_runs_of_one_method_are_averaged_with_their_spread(folders, capsys):
    found = evaluate({'both': [folders / 'A', folders / 'B']}, folders / 'gt', settings=QUICK)
    means = [decibels(2, 4, 6, 8), decibels(3, 4, 5, 6)]
    assert mean(found, 'both') == pytest.approx(np.mean(means))
    assert rows_of(found)['both'].summaries['psnr'][0].spread == pytest.approx(np.std(means, ddof=1))
    assert f'{np.mean(means):.2f} ± {np.std(means, ddof=1):.2f}' in to_markdown(found)
    arguments = ['--restored', f'both={folders / "A"}', '--restored', f'both={folders / "B"}', '--gt', str(folders / 'gt')]
    assert main(['evaluate', *arguments, '--metrics', 'psnr', '--device', 'cpu', '--num_workers', '0']) == 0
    assert f'{np.mean(means):.2f} ± {np.std(means, ddof=1):.2f}' in capsys.readouterr().out


def test_scores_do_not_depend_on_batches_and_processes(tmp_path):
    for number, size in enumerate((200, 200, 210, 200, 210)):
        texture = cv2.GaussianBlur(clean(number, size), (0, 0), 1.5)
        write(tmp_path / 'gt' / f'{number}.png', texture)
        write(tmp_path / 'A' / f'{number}.png', off_by(texture, number + 1))
    metrics = ('psnr', 'ssim', 'niqe')
    alone, many = (
        rows_of(
            evaluate(
                {'A': [tmp_path / 'A']}, tmp_path / 'gt', settings=Settings(metrics, device='cpu', batch_size=size, num_workers=workers)
            )
        )
        for size, workers in ((1, 0), (4, 2))
    )
    for key in metrics:
        np.testing.assert_allclose(alone['A'].runs[0].scores[key], many['A'].runs[0].scores[key], rtol=1e-12)
    assert np.isfinite(alone['GT'].runs[0].scores['niqe']).all()


@pytest.mark.parametrize(('device', 'worker_metrics'), [('cpu', ['psnr', 'ssim', 'niqe']), ('cuda', ['niqe'])])
def test_what_needs_no_network_is_done_by_many_processes_where_there_is_no_gpu(tmp_path, device, worker_metrics):
    scorer = Scorer([METRICS[key] for key in ('psnr', 'ssim', 'niqe')], ComputeOptions(None, torch.device(device), 1, 0), None)
    assert scorer.worker_metrics == worker_metrics
    assert sorted([*scorer.functions, *scorer.worker_metrics]) == ['niqe', 'psnr', 'ssim']


def test_a_few_pictures_are_in_memory_at_a_time(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr('frex.evaluation.scoring.read_image', lambda path: read.append(path) or clean(0))
    files, clean_files = ([tmp_path / kind / f'{number}.png' for number in range(3000)] for kind in ('A', 'gt'))
    batches = iterate_batches(ImagePairs(files, clean_files, False, (), None), batch_size=4, num_workers=0)
    for number in range(1, 4):
        assert len(next(batches)) == 4
        assert len(read) == 8 * number


def test_the_interval_of_a_mean_is_that_of_statistics():
    scores = np.random.default_rng(1).normal(20, 3, 2000)
    low, high = bootstrap_interval(scores, seed=0)
    reach = 1.96 * scores.std(ddof=1) / np.sqrt(len(scores))
    assert (low, high) == pytest.approx((scores.mean() - reach, scores.mean() + reach), abs=0.15 * reach)
    assert bootstrap_interval(scores, seed=0) == (low, high)
    assert bootstrap_interval(scores, seed=1) != (low, high)


def test_what_cannot_be_said_is_nan():
    assert np.isnan(bootstrap_interval(np.array([1.0]), 0)).all()
    assert np.isnan(bootstrap_interval(np.array([1.0, np.inf]), 0)).all()
    summary = summarize_scores(np.array([[1.0, np.nan, 3.0], [2.0, np.nan, np.nan]]), 0)
    assert (summary.mean, summary.unscored) == (2.25, 2)
    assert summary.spread == 0
    nothing = summarize_scores(np.array([[np.nan, np.nan]]), 0)
    assert np.isnan([nothing.mean, nothing.low, nothing.high, nothing.spread]).all()


@pytest.mark.parametrize(
    ('scores', 'pictures'),
    [
        ([[5, 6, 7, NAN, NAN], [NAN, NAN, NAN, 20, 21]], [5, 6, 7, 20, 21]),
        ([[1, 2, NAN], [3, NAN, NAN]], [2, 2]),
        ([[1, 2, 3], [NAN, NAN, NAN]], [1, 2, 3]),
        ([[1, 5, 9], [2, 9, 4], [6, 1, 2]], [3, 5, 5]),
    ],
)
def test_mean_and_interval_are_of_the_same_numbers(scores, pictures):
    """The score of an image is its mean over the runs that have one."""
    summary = summarize_scores(np.array(scores, dtype=float), seed=3)
    assert summary.mean == pytest.approx(np.mean(pictures))
    assert (summary.low, summary.high) == pytest.approx(bootstrap_interval(np.array(pictures, dtype=float), seed=3))
    assert summary.low <= summary.mean <= summary.high


def test_a_metric_without_its_weights_is_a_named_gap(folders, capsys):
    assert run(folders, '--metrics', 'psnr', 'lpips') == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith('- LPIPS: -, vgg16-397923af.pth is missing; get it with: frex weights download vgg16') for line in lines)
    row = next(line for line in lines if line.startswith('| A '))
    assert row.split('|')[3].strip() == '-'


# --- By yaw


def test_bins_of_yaw_hold_the_faces_that_are_turned_so_far(folders):
    yaw = {'a/one.jpg': 3.0, 'a/two.jpg': -29.0, 'b/one.jpg': 31.0, 'three.jpg': 14.0, 'not/here.jpg': 80.0}
    found = evaluate({'A': [folders / 'A']}, folders / 'gt', cameras=labels(folders, yaw), settings=QUICK)
    np.testing.assert_allclose(found.yaw, [3, 29, 31, 14], atol=1e-3)
    assert [(each.title, each.count) for each in found.bins] == [('all', 4), ('0-15', 2), ('15-30', 1), ('30-45', 1)]
    steps = ((2, 4, 6, 8), (2, 8), (4,), (6,))
    for number, expected in enumerate(steps):
        assert mean(found, 'A', number=number) == pytest.approx(decibels(*expected))


@pytest.mark.parametrize(('degrees', 'most'), [(1.1, 5.5), (1.1, 9.9), (15.0, 45.0)])
def test_every_picture_is_in_one_bin(degrees, most):
    # 5 x 1.1 is 5.5, yet 5.5 // 1.1 is 4.
    yaw = np.array([0.0, degrees, np.nextafter(most, 0), most])
    members = np.stack([each.members for each in make_bins(yaw, len(yaw), degrees)[1:]])
    assert members.sum(axis=0).tolist() == [1] * len(yaw)


def test_a_camera_without_a_rotation_is_refused(folders, capsys):
    path = labels(folders, {'a/one.png': 3.0, 'a/two.png': 29.0, 'b/one.png': 31.0, 'three.png': 14.0})
    content = json.loads(path.read_text())
    content['labels'][1][1][:16] = [0.0] * 16
    path.write_text(json.dumps(content))
    assert run(folders, '--cameras', path) == 1
    assert f'--cameras: {path}: the camera of a/two is not a rotation (1 such)' in capsys.readouterr().err


def test_bins_without_pictures_are_told_as_such():
    bins = make_bins(np.array([5.0, 45.0]), 2, 15)
    assert [(each.title, each.count) for each in bins] == [('all', 2), ('0-15', 1), ('15-30', 0), ('30-45', 0), ('45-60', 1)]


def test_faces_without_a_camera_are_refused(folders, capsys):
    cameras = labels(folders, {'a/one.png': 0.0, 'b/one.png': 0.0})
    assert run(folders, '--cameras', cameras) == 1
    assert f'--cameras: {cameras} has no label for 2 of 4 images, first a/two' in capsys.readouterr().err


# --- FID


class MeanColour:
    """Replaces Inception: four features per image."""

    features = 4
    sha256 = None

    @classmethod
    def from_weights(cls, weights, device):
        return cls()

    def __call__(self, faces):
        return torch.cat([faces.mean(dim=(2, 3)), faces.std(dim=(1, 2, 3))[:, None]], dim=1)


@pytest.fixture
def fid_set(tmp_path, monkeypatch):
    """Write twelve pairs, the first seven frontal; return their features by folder."""
    monkeypatch.setattr(evaluation_fid, 'Inception', MeanColour)
    monkeypatch.setattr('frex.metrics.metric.Metric.missing', lambda metric, weights: None)
    monkeypatch.setattr('frex.evaluation.evaluator.describe_metrics', lambda *_: {})
    rng = np.random.default_rng(0)
    features = {'gt': [], 'A': []}
    for number in range(12):
        for folder in features:
            image = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
            write(tmp_path / folder / f'{number:02d}.png', image)
            values = image[:, :, ::-1].astype(float) / 127.5 - 1
            features[folder].append([*values.mean(axis=(0, 1)), values.std(ddof=1)])
    return tmp_path, {folder: np.array(rows) for folder, rows in features.items()}


def frechet(first, second):
    """Compute FID by the formula of its paper, with scipy's matrix root."""
    covariances = [np.cov(features, rowvar=False) for features in (first, second)]
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    between = np.sum((first.mean(axis=0) - second.mean(axis=0)) ** 2)
    return between + np.trace(covariances[0] + covariances[1] - 2 * root)


def test_fid_is_that_of_the_pictures_of_each_bin(fid_set):
    folder, features = fid_set
    cameras = labels(folder, {f'{number:02d}.png': 0.0 if number < 7 else 20.0 for number in range(12)})
    found = evaluate({'A': [folder / 'A']}, folder / 'gt', cameras=cameras, settings=Settings(('fid',), num_workers=0, device='cpu'))
    for number, part in enumerate((slice(None), slice(7), slice(7, None))):
        assert mean(found, 'A', 'fid', number) == pytest.approx(frechet(features['A'][part], features['gt'][part]), rel=1e-4)
        assert mean(found, 'GT', 'fid', number) == pytest.approx(0, abs=1e-6)


def test_fid_of_fewer_pictures_than_features_is_the_same_in_its_quick_form():
    features = np.random.default_rng(0).normal(size=(2, 9, 30)).astype(np.float32)
    quick, other = (evaluation_fid.SampleStatistics(each) for each in features)
    slow = FeatureStatistics(np.mean(features[0], axis=0, dtype=float), np.cov(features[0].astype(float), rowvar=False))
    assert quick.factor.shape == (30, 9)
    assert evaluation_fid.frechet_distance(quick, other) == pytest.approx(evaluation_fid.frechet_distance(slow, other), rel=1e-6)


def test_fid_against_stored_statistics_is_of_all_pictures(fid_set):
    folder, features = fid_set
    stored = np.random.default_rng(5).normal(size=(50, 4))
    FeatureStatistics(stored.mean(axis=0), np.cov(stored, rowvar=False), 50).save(folder / 'stored.npz')
    cameras = labels(folder, {f'{number:02d}.png': 0.0 for number in range(12)})
    settings = Settings(('fid',), fid_statistics=folder / 'stored.npz', num_workers=0, device='cpu')
    found = evaluate({'A': [folder / 'A']}, folder / 'gt', cameras=cameras, settings=settings)
    assert mean(found, 'A', 'fid') == pytest.approx(frechet(features['A'], stored), rel=1e-4)
    assert mean(found, 'GT', 'fid') == pytest.approx(frechet(features['gt'], stored), rel=1e-4)
    assert math.isnan(mean(found, 'A', 'fid', 1))
    assert found.protocol['FID against'].startswith('stored.npz, 50 images, sha256 ')


# --- What is told


def test_the_best_is_bold_and_the_second_underlined(folders):
    write_third = {'a/one': 1, 'a/two': 2, 'b/one': 3, 'three': 4}
    for number, (name, step) in enumerate(write_third.items()):
        write(folders / 'C' / f'{name}.png', off_by(clean(number), step))
    found = evaluate({name: [folders / name] for name in 'ABC'}, folders / 'gt', settings=QUICK)
    cells = {line.split('|')[1].strip(): line.split('|')[2].strip() for line in to_markdown(found).splitlines()[2:8]}
    assert cells['C'] == f'**{decibels(1, 2, 3, 4):.2f}**'
    assert cells['A'] == f'{decibels(2, 4, 6, 8):.2f}'
    assert cells['B'] == f'<u>{decibels(3, 4, 5, 6):.2f}</u>'
    assert cells['GT'] == '∞'


def row_of(name, *means, key='lpips'):
    """Return a row with a mean in each bin."""
    return Row(name, False, (), {key: tuple(Summary(each, NAN, NAN, NAN, 0) for each in means)})


def test_marks_know_which_way_is_better_and_what_is_alike_as_written():
    rows = [
        row_of('a', 0.31, NAN),
        row_of('b', 0.20001, 0.5),
        row_of('c', 0.19999, 0.4),
        row_of('d', NAN, NAN),
        row_of('e', 1, 2, key='fid'),
    ]
    first, second = (rank_marks(rows, METRICS['lpips'], number) for number in (0, 1))
    cells = [[format_cell(row, METRICS['lpips'], number, marks) for row in rows] for number, marks in ((0, first), (1, second))]
    assert cells[0] == ['<u>0.3100</u>', '**0.2000**', '**0.2000**', '-', '-']
    assert cells[1] == ['-', '<u>0.5000</u>', '**0.4000**', '-', '-']
    higher = [row_of(name, mean, key='ssim') for name, mean in (('a', 0.9), ('b', 0.95), ('c', 0.1))]
    assert rank_marks(higher, METRICS['ssim'], 0) == {0.95: '**{}**', 0.9: '<u>{}</u>'}


def test_a_method_alone_is_not_the_best(folders):
    assert '**' not in to_markdown(evaluate({'A': [folders / 'A']}, folders / 'gt', settings=QUICK))


def test_the_protocol_knows_the_files(folders):
    files = {'a/one': 'a/one.png', 'a/two': 'a/two.bmp', 'b/one': 'b/one.png', 'three': 'three.png'}
    sums = {name: hashlib.sha256((folders / 'gt' / file).read_bytes()).hexdigest() for name, file in files.items()}
    expected = hashlib.sha256(''.join(f'{name} {sums[name]}\n' for name in sorted(sums)).encode()).hexdigest()
    before = evaluate({'A': [folders / 'A']}, folders / 'gt', settings=QUICK).protocol
    assert before['files of GT'] == f'1 bmp, 3 png; 4 of 24 x 24; sha256 of the sorted lines "NAME SHA256" {expected}'
    assert METRICS['psnr'].protocol in before['PSNR']
    write(folders / 'A/three.png', clean(3))
    after = evaluate({'A': [folders / 'A']}, folders / 'gt', settings=QUICK).protocol
    assert {topic for topic in before if before[topic] != after[topic]} == {'files of A'}


def test_json_and_csv_tell_what_the_table_tells(folders):
    found = evaluate({'A': [folders / 'A']}, folders / 'gt', settings=QUICK)
    told = json.loads(to_json(found))
    assert told['rows'][0]['runs'][0]['scores']['psnr'] == pytest.approx([decibels(step) for step in (2, 4, 6, 8)])
    assert told['rows'][1]['summaries']['psnr'][0]['mean'] == 'inf'
    assert told['rows'][1]['summaries']['psnr'][0]['low'] is None
    line = next(csv.DictReader(to_csv(found).splitlines()))
    assert (line['method'], line['metric'], line['yaw'], line['pictures']) == ('A', 'psnr', 'all', '4')
    assert float(line['mean']) == mean(found, 'A')
    assert line['spread'] == ''


def test_the_cost_of_a_run_is_a_column(folders):
    record = {'seconds_a_face': 0.25, 'timing': 'command', 'peak_memory_bytes': {'host': 300 << 20, 'GPU': 5 << 20}}
    (folders / 'A/run.json').write_text(json.dumps(record))
    (folders / 'B').rename(folders / 'images')
    (folders / 'B').mkdir()
    (folders / 'images').rename(folders / 'B/images')
    (folders / 'B/run.json').write_text(json.dumps({'seconds_a_face': 0.5, 'peak_memory_bytes': {'host': 100 << 20}}))
    found = evaluate({'A': [folders / 'A'], 'B': [folders / 'B/images']}, folders / 'gt', settings=QUICK)
    table = [[cell.strip() for cell in line.strip('|').split('|')] for line in to_markdown(found).splitlines()[2:7]]
    assert table[0][2:] == ['s/face', 'host MiB', 'GPU MiB']
    assert [row[2:] for row in table[2:]] == [['0.250', '300', '5'], ['0.500', '100', '-'], ['-', '-', '-']]
    assert '- s/face: of the whole command, starting and loading included: A' in to_markdown(found)


def cost_of(folder, **runs):
    """Write one folder per run with its `run.json`, and read their cost."""
    for name, record in runs.items():
        (folder / name).mkdir()
        (folder / name / 'run.json').write_text(json.dumps(record))
    return read_cost([folder / name for name in runs])


def test_the_cost_of_two_runs_is_their_mean_time_and_greatest_memory(tmp_path):
    first = {'seconds_a_face': 0.2, 'timing': 'network', 'device': 'cpu: x86_64, 2 threads', 'peak_memory_bytes': {'host': 300}}
    second = first | {'seconds_a_face': 0.4, 'peak_memory_bytes': {'host': 200, 'GPU': 7}}
    cost = cost_of(tmp_path, first=first, second=second)
    assert cost.seconds_a_face == pytest.approx(0.3)
    assert cost.peak_memory == {'host': 300, 'GPU': 7}
    assert cost.measured == ('the network alone; cpu: x86_64, 2 threads',)


def test_times_of_different_things_have_no_mean(folders):
    cost = cost_of(folders, x={'seconds_a_face': 0.2, 'timing': 'network'}, y={'seconds_a_face': 9, 'timing': 'command'})
    assert (cost.seconds_a_face, cost.timings) == (None, ('network', 'command'))
    for name, record in (('A', 'x'), ('B', 'y')):
        shutil.move(folders / record / 'run.json', folders / name / 'run.json')
    told = to_markdown(evaluate({'both': [folders / 'A', folders / 'B']}, folders / 'gt', settings=QUICK))
    assert '- s/face: -, of some runs the network alone was timed, of others the whole command: both' in told


def test_where_costs_were_measured_is_told(folders):
    network = {
        'seconds_a_face': 0.2,
        'timing': 'network',
        'device': 'cuda:0: NVIDIA H200',
        'versions': {'torch': '2.9.0', 'gfpgan': '1.3.8'},
    }
    (folders / 'A/run.json').write_text(json.dumps(network))
    (folders / 'B/run.json').write_text(json.dumps(network))
    found = evaluate({'A': [folders / 'A'], 'B': [folders / 'B']}, folders / 'gt', settings=QUICK)
    assert found.protocol['cost of A'] == 'the network alone; cuda:0: NVIDIA H200; torch 2.9.0, gfpgan 1.3.8'
    assert 'not measured alike' not in to_markdown(found)
    (folders / 'B/run.json').write_text(json.dumps(network | {'device': 'cpu: x86_64, 2 threads'}))
    found = evaluate({'A': [folders / 'A'], 'B': [folders / 'B']}, folders / 'gt', settings=QUICK)
    assert '- s/face, memory: not measured alike, see "cost of" in the protocol: A, B' in to_markdown(found)


def test_what_is_infinite_is_told(folders, monkeypatch):
    write(folders / 'A/three.png', clean(3))
    found = evaluate({'A': [folders / 'A'], 'B': [folders / 'B']}, folders / 'gt', settings=QUICK)
    note = '- PSNR: ∞ of images that are the same as the clean ones, so its mean is ∞, without interval and plot: 1 of A'
    assert note in to_markdown(found).splitlines()
    titles = []
    monkeypatch.setattr('matplotlib.axes.Axes.set_title', lambda axes, title, **_: titles.append(title))
    draw_plots(found, folders / 'plots')
    assert titles == ['PSNR ↑\n∞, not drawn: A']


def test_the_same_pictures_under_two_names_are_told(folders):
    shutil.copytree(folders / 'A', folders / 'C')
    found = evaluate({'A': [folders / 'A'], 'B': [folders / 'B', folders / 'C']}, folders / 'gt', settings=QUICK)
    assert '- the same images, byte for byte: A / B, run 2' in to_markdown(found).splitlines()
    different = evaluate({'A': [folders / 'A'], 'B': [folders / 'B']}, folders / 'gt', settings=QUICK)
    assert 'byte for byte' not in to_markdown(different)


def test_names_are_shown_as_they_are(folders):
    name = 'a*b*_c_ d_e <i> `x` [y](z)'
    told = to_markdown(evaluate({name: [folders / 'A'], 'B': [folders / 'B']}, folders / 'gt', settings=QUICK))
    assert r'| a\*b\*\_c\_ d_e \<i> \`x\` \[y](z) |' in told
    assert r'- files of a\*b\*\_c\_ d_e' in told


def test_a_damaged_record_is_named_before_anything_is_calculated(folders, capsys):
    (folders / 'A/run.json').write_text('[]')
    assert run(folders) == 1
    assert f'{folders / "A/run.json"}: not the record of a run' in capsys.readouterr().err


def test_cases_are_the_worst_and_the_best():
    scores = np.array([5.0, 1.0, np.nan, 4.0, 2.0, 3.0])
    assert select_best_and_worst(scores, METRICS['psnr']) == ([1, 4], [0, 3])
    assert select_best_and_worst(scores, METRICS['lpips']) == ([0, 3], [1, 4])
    assert select_best_and_worst(np.array([7.0]), METRICS['psnr']) == ([0], [])


def test_everything_is_written_where_it_is_asked_for(folders, capsys):
    cameras = labels(folders, {'a/one.png': 3.0, 'a/two.png': 29.0, 'b/one.png': 31.0, 'three.png': 14.0})
    outputs = ('--json', folders / 'o.json', '--csv', folders / 'o.csv', '--markdown', folders / 'o.md', '--plots', folders / 'plots')
    assert run(folders, '--metrics', 'psnr', '--cameras', cameras, *outputs) == 0
    printed = capsys.readouterr().out
    assert printed.startswith((folders / 'o.md').read_text())
    assert sorted(os.listdir(folders / 'plots')) == ['cases_A_by_psnr.jpg', 'cases_B_by_psnr.jpg', 'scores.png', 'yaw.png']
    # Two worst and two best, with A, B and GT.
    assert read_image(folders / 'plots/cases_A_by_psnr.jpg').shape == (4 * 184, 3 * 166, 3)
    assert read_image(folders / 'plots/yaw.png').std() > 10


def test_what_is_there_is_kept_unless_asked(folders, capsys):
    (folders / 'o.csv').write_text('mine')
    assert run(folders, '--metrics', 'psnr', '--csv', folders / 'o.csv') == 1
    assert 'exists already' in capsys.readouterr().err
    assert (folders / 'o.csv').read_text() == 'mine'
    assert run(folders, '--metrics', 'psnr', '--csv', folders / 'o.csv', '--overwrite') == 0
    assert (folders / 'o.csv').read_text().startswith('method,')


@pytest.mark.parametrize(
    ('arguments', 'told'),
    [
        (('--metrics', 'lpip'), "--metrics lpip: unknown; did you mean 'lpips'?"),
        (('--restored', 'folder'), '--restored folder: NAME=FOLDER is needed'),
        (('--restored', 'gt=x'), '--restored gt: gt is the name of another row'),
        (('--restored', 'a/b=x'), "--restored 'a/b': a name is needed"),
        (('--batch_size', '0'), '--batch_size 0: at least 1 is needed'),
        (('--bin_degrees', 'nan'), '--bin_degrees nan: from 1 to 180 is needed'),
        (('--bin_degrees', 'inf'), '--bin_degrees inf: from 1 to 180 is needed'),
        (('--restored', f'{"x" * 101}=x'), 'at most 100 bytes of name'),
        (('--json', 'o', '--csv', './o'), '--json and --csv are one file, o; give two'),
        (('--fid_statistics', 'none.pth'), 'none.pth: no such file'),
        (('--metrics', 'psnr', '--fid_statistics', 'x.pth'), '--fid_statistics: FID is not among the --metrics'),
        (('--csv', '/nowhere/o.csv'), 'no folder /nowhere'),
        (('--cameras', 'none.json'), 'none.json cannot be read'),
        (('--lq', 'none'), 'LQ: no folder none'),
    ],
)
def test_wrong_settings_are_told_in_one_line(folders, capsys, arguments, told):
    assert run(folders, *arguments) == 1
    error = capsys.readouterr().err
    assert told in error
    assert error.count('\n') == 1


def test_a_wrong_setting_is_an_error_in_python_too():
    with pytest.raises(FRExError, match='--num_workers -1'):
        Settings(num_workers=-1)

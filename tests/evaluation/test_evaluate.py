"""`frex evaluate`: which images are compared, their scores, and the report."""

import json
import math
import os
from zipfile import ZipFile

import cv2
import numpy as np
import pytest
import torch
from scored_folders import NAN, QUICK, SIZE, clean, decibels, mean, off_by, rows_of, run, write, write_yaw_labels

from frex.cli.main import main
from frex.errors import FRExError
from frex.evaluation import Settings, evaluate, to_markdown
from frex.evaluation.best_and_worst import select_best_and_worst
from frex.evaluation.inputs import compute_image_stats, list_image_folder
from frex.evaluation.scoring import ComputeOptions, ImagePairs, Scorer, iterate_batches
from frex.evaluation.summaries import bootstrap_interval, summarize_scores
from frex.evaluation.yaw_bins import make_bins
from frex.images import read_image
from frex.metrics.catalogue import METRICS
from frex.utils.files import sha256

# --- Which images are compared


def test_images_are_matched_by_name_whatever_their_suffix_and_order(folders):
    found = evaluate({'A': [folders / 'A'], 'B': [folders / 'B']}, folders / 'gt', settings=QUICK)
    assert found.names == ('a/one', 'a/two', 'b/one', 'three')
    assert mean(found, 'A') == pytest.approx(decibels(2, 4, 6, 8))
    np.testing.assert_allclose(rows_of(found)['B'].runs[0].scores['psnr'], [decibels(step) for step in (3, 4, 5, 6)])


def test_the_first_face_of_an_image_is_the_image(folders):
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


def test_folders_without_a_common_image_are_refused_even_in_part(folders, capsys):
    (folders / 'A').rename(folders / 'images')
    (folders / 'A').mkdir()
    (folders / 'images').rename(folders / 'A/images')
    assert run(folders, '--partial', methods=['A']) == 1
    assert f'give {folders / "A/images"}?' in capsys.readouterr().err


def test_two_images_of_one_name_are_refused(folders, capsys):
    write(folders / 'A/three.jpg', clean(3))
    assert run(folders) == 1
    assert 'three.jpg, three.png, which have one name' in capsys.readouterr().err


def test_nothing_is_resized_unasked(folders, capsys):
    write(folders / 'B/b/one.png', clean(2, 2 * SIZE))
    assert run(folders, '--json', folders / 'o.json') == 1
    told = capsys.readouterr().err
    assert f'{folders / "B/b/one.png"}: is 48 x 48, its clean image {folders / "gt/b/one.png"} 24 x 24 (1 of 4 images of B)' in told
    assert not (folders / 'o.json').exists()


def test_an_image_that_lies_on_its_side_is_measured_upright(tmp_path):
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
def test_a_damaged_image_is_named_before_anything_is_calculated(folders, capsys, kept):
    (folders / 'A/three.png').write_bytes((folders / 'A/three.png').read_bytes()[:kept])
    assert run(folders) == 1
    assert f'{folders / "A/three.png"}: cannot be read as an image' in capsys.readouterr().err


def test_a_worker_names_an_image_that_it_cannot_read(folders):
    (folders / 'A/three.png').write_bytes(b'no image')
    pairs = ImagePairs([folders / 'A/three.png'], [folders / 'gt/three.png'], False, (), None)
    with pytest.raises(FRExError, match=r'^\S*A/three\.png: not an image, or a damaged one$'):
        list(iterate_batches(pairs, batch_size=1, num_workers=1))


# --- Scores


def test_gt_is_always_there_and_bilinear_where_there_are_degraded_images(folders):
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


def test_a_few_images_are_in_memory_at_a_time(tmp_path, monkeypatch):
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
    ('scores', 'image_scores'),
    [
        ([[5, 6, 7, NAN, NAN], [NAN, NAN, NAN, 20, 21]], [5, 6, 7, 20, 21]),
        ([[1, 2, NAN], [3, NAN, NAN]], [2, 2]),
        ([[1, 2, 3], [NAN, NAN, NAN]], [1, 2, 3]),
        ([[1, 5, 9], [2, 9, 4], [6, 1, 2]], [3, 5, 5]),
    ],
)
def test_mean_and_interval_are_of_the_same_numbers(scores, image_scores):
    """The score of an image is its mean over the runs that have one."""
    summary = summarize_scores(np.array(scores, dtype=float), seed=3)
    assert summary.mean == pytest.approx(np.mean(image_scores))
    assert (summary.low, summary.high) == pytest.approx(bootstrap_interval(np.array(image_scores, dtype=float), seed=3))
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
    found = evaluate({'A': [folders / 'A']}, folders / 'gt', cameras=write_yaw_labels(folders, yaw), settings=QUICK)
    np.testing.assert_allclose(found.yaw, [3, 29, 31, 14], atol=1e-3)
    assert [(each.title, each.count) for each in found.bins] == [('all', 4), ('0-15', 2), ('15-30', 1), ('30-45', 1)]
    steps = ((2, 4, 6, 8), (2, 8), (4,), (6,))
    for number, expected in enumerate(steps):
        assert mean(found, 'A', number=number) == pytest.approx(decibels(*expected))


@pytest.mark.parametrize(('degrees', 'most'), [(1.1, 5.5), (1.1, 9.9), (15.0, 45.0)])
def test_every_image_is_in_one_bin(degrees, most):
    # 5 x 1.1 is 5.5, yet 5.5 // 1.1 is 4.
    yaw = np.array([0.0, degrees, np.nextafter(most, 0), most])
    members = np.stack([each.members for each in make_bins(yaw, len(yaw), degrees)[1:]])
    assert members.sum(axis=0).tolist() == [1] * len(yaw)


def test_a_camera_without_a_rotation_is_refused(folders, capsys):
    path = write_yaw_labels(folders, {'a/one.png': 3.0, 'a/two.png': 29.0, 'b/one.png': 31.0, 'three.png': 14.0})
    content = json.loads(path.read_text())
    content['labels'][1][1][:16] = [0.0] * 16
    path.write_text(json.dumps(content))
    assert run(folders, '--cameras', path) == 1
    assert f'--cameras: {path}: the camera of a/two is not a rotation (1 such)' in capsys.readouterr().err


def test_bins_without_images_are_told_as_such():
    bins = make_bins(np.array([5.0, 45.0]), 2, 15)
    assert [(each.title, each.count) for each in bins] == [('all', 2), ('0-15', 1), ('15-30', 0), ('30-45', 0), ('45-60', 1)]


def test_faces_without_a_camera_are_refused(folders, capsys):
    cameras = write_yaw_labels(folders, {'a/one.png': 0.0, 'b/one.png': 0.0})
    assert run(folders, '--cameras', cameras) == 1
    assert f'--cameras: {cameras} has no label for 2 of 4 images, first a/two' in capsys.readouterr().err


def test_a_damaged_record_is_named_before_anything_is_calculated(folders, capsys):
    (folders / 'A/run.json').write_text('[]')
    assert run(folders) == 1
    assert f'{folders / "A/run.json"}: not the record of a run' in capsys.readouterr().err


def test_cases_are_the_worst_and_the_best():
    scores = np.array([5.0, 1.0, np.nan, 4.0, 2.0, 3.0])
    assert select_best_and_worst(scores, METRICS['psnr']) == ([1, 4], [0, 3])
    assert select_best_and_worst(scores, METRICS['lpips']) == ([0, 3], [1, 4])
    assert select_best_and_worst(np.array([7.0]), METRICS['psnr']) == ([0], [])


def test_cameras_may_be_in_a_zip(folders, capsys):
    labels = write_yaw_labels(folders, {'a/one.png': 3.0, 'a/two.png': 29.0, 'b/one.png': 31.0, 'three.png': 14.0})
    with ZipFile(folders / 'labels.zip', 'w') as archive:
        archive.write(labels, 'dataset.json')
    assert run(folders, '--metrics', 'psnr', '--cameras', folders / 'labels.zip/dataset.json') == 0
    assert f'dataset.json, sha256 {sha256(labels)}' in capsys.readouterr().out


def test_everything_is_written_where_it_is_asked_for(folders, capsys):
    cameras = write_yaw_labels(folders, {'a/one.png': 3.0, 'a/two.png': 29.0, 'b/one.png': 31.0, 'three.png': 14.0})
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

"""What is seen of a run: the console's line, scalars, the grid of images, metrics of whole sets."""

import json
from argparse import Namespace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from feature_sets import frechet
from processes import free_port
from tiny import faces, tiny_frex, trained
from tiny_model import batch, build

from frex.metrics import fid
from frex.models.image_grid import image_grid
from frex.models.scalars import append_scalars, forget_scalars_after, read_scalars
from frex.options import read_run
from frex.training.train_log import TrainLog
from frex_arch.frex_3d import FREx3DOutput

LOG = {'epoch': 1, 'iter': 50, 'lrs': [2e-3, 1e-3], 'time': 0.25, 'data_time': 0.01, 'l_g_pix': 0.5, 'real_score_dual': -1.0}


class Board:
    """In the place of TensorBoard."""

    def __init__(self):
        self.scalars, self.images = {}, {}

    def add_scalar(self, name, value, step):
        self.scalars[name, step] = value

    def add_image(self, name, image, step):
        self.images[name, step] = image


def options(tmp_path, **changes):
    path = {'experiments_root': str(tmp_path)}
    datasets = {'train': {'batch_size_per_gpu': 4}}
    run = {'name': 'faces', 'model_type': 'AnyModel', 'is_train': True, 'num_gpu': 0}
    return read_run(run | {'path': path, 'datasets': datasets, 'train': {'total_iter': 150}} | changes, 'options')


def test_a_line_says_how_fast_and_how_long(tmp_path, monkeypatch):
    lines, seconds = [], iter([1000.0, 1012.0])
    monkeypatch.setattr('frex.training.train_log.get_root_logger', lambda: Namespace(info=lines.append))
    monkeypatch.setattr('frex.training.train_log.time.monotonic', lambda: next(seconds))
    monkeypatch.setattr('frex.training.train_log.memory_gb', lambda: 1.5)
    monkeypatch.setattr('frex.training.train_log.get_dist_info', lambda: (0, 8))
    board = Board()
    log = TrainLog(options(tmp_path), start_iter=20, tb_logger=board)
    log(dict(LOG))
    # 30 iterations in 12 seconds, 100 to go; 4 images on each of 8 in a quarter of a second.
    assert lines == [
        '[faces..][epoch:  1, iter:      50, lr:(2.000e-03,1.000e-03,)] [eta: 0:00:40, time (data): 0.250 (0.010), '
        '128.0 images/s, 1.50 GB] l_g_pix: 5.0000e-01 real_score_dual: -1.0000e+00'
    ]
    assert board.scalars['losses/l_g_pix', 50] == 0.5
    assert board.scalars['real_score_dual', 50] == -1
    assert board.scalars['images_per_second', 50] == 128
    assert json.loads((tmp_path / 'scalars.jsonl').read_text()) == LOG | {'images_per_second': 128, 'memory_gb': 1.5}


def test_a_trial_run_leaves_tensorboard_alone(tmp_path):
    board = Board()
    TrainLog(options(tmp_path, name='debug_faces'), tb_logger=board)(dict(LOG))
    assert not board.scalars


def test_the_half_line_of_a_killed_process_is_left_out(tmp_path):
    path = tmp_path / 'scalars.jsonl'
    for number in (1, 2, 3):
        append_scalars(path, {'iter': number, 'l_g_pix': 0.5})
    path.write_text(path.read_text()[:-5])
    forget_scalars_after(path, 5)
    append_scalars(path, {'iter': 3, 'l_g_pix': 0.25})
    assert [record['l_g_pix'] for record in read_scalars(path)] == [0.5, 0.5, 0.25]
    forget_scalars_after(path, 1)
    assert read_scalars(path) == [{'iter': 1, 'l_g_pix': 0.5}]


# --- The grid


@pytest.mark.parametrize(('switches', 'maps'), [({}, 4), ({'use_awb': False}, 0)])
def test_the_grid_shows_all_of_a_face_in_a_row(switches, maps):
    net = tiny_frex(**switches).eval()
    lq, gt = faces(2, seed=1), faces(2, seed=2)
    with torch.no_grad():
        output = net(lq, image_3d=True, alphas=True)
    grid = image_grid(lq, output, gt)
    # lq, image_3d; 8, 16, 32, 64; result; gt; maps at 8, 16, 32, 64.
    rows = grid.unflatten(1, (2, 64)).unflatten(3, (-1, 64)).permute(1, 3, 0, 2, 4)
    assert rows.shape[1] == 8 + maps
    shown = [
        lq,
        output.image_3d,
        *(image.repeat_interleave(64 // image.shape[-1], 2).repeat_interleave(64 // image.shape[-1], 3) for image in output.images_3d),
    ]
    for column, images in enumerate([*shown, output.image, gt]):
        torch.testing.assert_close(rows[:, column], (images.clamp(-1, 1) + 1) / 2)
    # alpha is 1 at the start.
    assert (rows[:, 8:] == 0.5).all()


def test_alphas_are_those_that_weight_the_2d_prior():
    net = trained(tiny_frex()).eval()
    seen = {}
    for size, fusion in net.fusion.items():
        fusion.weighting.register_forward_hook(
            lambda block, inputs, hidden, size=size: seen.update({int(size): block.modulation(*inputs[1:])[0].mean(dim=1, keepdim=True)})
        )
    with torch.no_grad():
        output = net(faces(), alphas=True)
        plain = net(faces())
    assert plain.alphas is None
    assert torch.equal(plain.image, output.image)
    assert len(output.alphas) == len(seen) == 4
    for alpha, size in zip(output.alphas, sorted(seen), strict=True):
        torch.testing.assert_close(alpha, seen[size])
        assert alpha.std() > 0


def test_a_validation_draws_nothing_from_training(tmp_path, face_folder, small_fid, monkeypatch):
    from frex.data.face_degradation_dataset import FaceDegradationDataset

    def draw_and_average(self, images):
        torch.rand(3)
        return images.mean(dim=(1, 2))[:, :8]

    monkeypatch.setattr(RowAndColumnMeans, 'forward', draw_and_average)
    model = build(tmp_path, val={'grid_images': None, 'metrics': {'fid': {'type': 'FID', 'better': 'lower', 'weights': None}}})
    dataset = FaceDegradationDataset(model.opt['datasets']['val'] | {'dataroot_gt': str(face_folder)})
    before = torch.get_rng_state()
    model.validation(Namespace(dataset=dataset), 1, None)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_best_validation_is_recalled_from_the_log(tmp_path):
    model = build(tmp_path)
    path = tmp_path / 'experiments/train_frex_tiny/scalars.jsonl'
    for step, psnr in ((10, 20.0), (20, 25.0), (30, 22.0)):
        append_scalars(path, {'iter': step, 'dataset': 'faces', 'psnr': psnr, 'ssim': 0.5})
    model._read_best_results()
    assert model.best_metric_results['faces']['psnr'] == {'better': 'higher', 'val': 25.0, 'iter': 20}


def test_stage_as_grid_ends_with_the_depth():
    depth = torch.linspace(2.4, 3.0, 16).expand(1, 1, 16, 16)
    images = faces(3)
    output = FREx3DOutput(images[1:2], *[torch.zeros(1, *shape) for shape in ((25,), (2, 8), (8,), (2, 8))], depth)
    grid = image_grid(images[:1], output, images[2:])
    assert grid.shape == (3, 64, 4 * 64)
    assert grid[0, 0, 192].item() == pytest.approx(0)
    assert grid[0, 0, 255].item() == pytest.approx(1)


def test_validation_shows_its_first_images(tmp_path, face_folder):
    model = build(tmp_path, val={'grid_images': 2, 'metrics': None})
    from frex.data.face_degradation_dataset import FaceDegradationDataset

    dataset = FaceDegradationDataset(model.opt['datasets']['val'] | {'dataroot_gt': str(face_folder)})
    board = Board()
    Path(model.opt['path']['visualization']).mkdir(parents=True, exist_ok=True)
    model.validation(Namespace(dataset=dataset), 3, board)
    (grid,) = board.images.values()
    assert list(board.images) == [('validation/faces_val', 3)]
    assert grid.shape == (3, 2 * 64, 12 * 64)
    written = cv2.imread(str(Path(model.opt['path']['visualization']) / 'grid_faces_val_3.jpg'))
    assert np.abs(written[:, :, ::-1].transpose(2, 0, 1) / 255 - grid.numpy()).mean() < 0.05
    torch.testing.assert_close(grid[:, :64, :64], (dataset[0]['lq'] + 1) / 2)


# --- Metrics of whole sets


@pytest.fixture
def small_fid(monkeypatch):
    """FID on eight features: means of rows and columns of an image of 4 x 4."""
    monkeypatch.setattr(fid, 'Inception', lambda path: RowAndColumnMeans())
    return fid.FID(None)


class RowAndColumnMeans(torch.nn.Module):
    features = 8
    sha256 = None

    def forward(self, images):
        grey = images.mean(dim=1)
        return torch.cat([grey.mean(dim=1), grey.mean(dim=2)], dim=1)


def random_images(seed, count=40):
    return np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)


def distance(one, other):
    """FID of the features of `RowAndColumnMeans`, written out."""
    features = (
        np.concatenate([grey.mean(axis=1), grey.mean(axis=2)], axis=1) for grey in ((x / 127.5 - 1).mean(axis=3) for x in (one, other))
    )
    return frechet(*features)


def test_fid_is_the_frechet_distance(small_fid):
    one, other = random_images(0) // 2, random_images(1)
    for img, img2 in zip(one, other, strict=True):
        small_fid.add(img, img2)
    assert small_fid.value() == pytest.approx(distance(one, other), rel=1e-3)
    assert distance(one, other) > 0.1


def test_fid_of_one_image_is_not_a_number(small_fid):
    small_fid.add(*random_images(0, 2))
    assert np.isnan(small_fid.value())


def test_fid_is_what_basicsr_adds_up_and_divides(small_fid):
    """As its own models do with what `calculate_metric` returns of each pair."""
    from basicsr.metrics import calculate_metric

    fid._shared_inception.cache_clear()
    one, other = random_images(0) // 2, random_images(1)
    options = {'type': 'FID', 'better': 'lower', 'weights': None}
    results = 0
    for img, img2 in zip(one, other, strict=True):
        results += calculate_metric({'img': img, 'img2': img2}, options)
    assert results / 40 == pytest.approx(distance(one, other), rel=1e-3)
    assert float(calculate_metric({'img': list(one), 'img2': other}, options)) == pytest.approx(distance(one, other), rel=1e-3)
    with pytest.raises(ValueError, match='this FID is of 40 images, not 39'):
        results / 39
    fid._shared_inception.cache_clear()


def share(rank, folder, port):
    import os

    os.environ |= {'RANK': str(rank), 'WORLD_SIZE': '2', 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(port)}
    torch.distributed.init_process_group('gloo')
    fid.Inception = lambda path: RowAndColumnMeans()
    metric = fid.FID(None)
    for img, img2 in list(zip(random_images(0) // 2, random_images(1), strict=True))[rank::2]:
        metric.add(img, img2)
    values = [metric.value() for _ in range(2)]
    assert values[0] == values[1]
    assert metric.count == 20
    Path(folder, str(rank)).write_text(str(values[0]))
    torch.distributed.destroy_process_group()


def test_fid_is_of_all_processes(tmp_path):
    mp.start_processes(share, (str(tmp_path), free_port()), nprocs=2, start_method='forkserver')
    expected = distance(random_images(0) // 2, random_images(1))
    assert [float((tmp_path / rank).read_text()) for rank in '01'] == pytest.approx([expected, expected], rel=1e-3)


def test_a_validation_has_metrics_of_images_and_of_sets(tmp_path, face_folder, small_fid, monkeypatch):
    from frex.data.face_degradation_dataset import FaceDegradationDataset

    psnr = {'type': 'calculate_psnr', 'crop_border': 0}
    model = build(
        tmp_path,
        val={'metrics': {'fid': {'type': 'FID', 'better': 'lower', 'weights': None}, 'psnr': psnr, 'ssim': None}, 'save_best': ['fid']},
    )
    dataset = FaceDegradationDataset(model.opt['datasets']['val'] | {'dataroot_gt': str(face_folder)})
    monkeypatch.setattr(RowAndColumnMeans, 'forward', lambda self, images: images.mean(dim=(1, 2))[:, :8])
    model.feed_data(batch())
    for step in (1, 2):
        model.validation(Namespace(dataset=dataset), step, None)
    first, second = read_scalars(tmp_path / 'experiments/train_frex_tiny/scalars.jsonl')
    assert set(first) == {'iter', 'dataset', 'fid', 'psnr'}
    assert first | {'iter': 2} == second
    assert first['fid'] > 0
    assert (Path(model.opt['path']['models']) / 'net_g_best_fid.pth').exists()

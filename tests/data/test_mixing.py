"""Images of EG3D mixed in: how often, which ones, and what they bring with them."""

import json
from collections import Counter

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from frex.data.face_degradation_dataset import FaceDegradationDataset
from frex.data.mixing import Mix, yaw_bins
from frex.data.sampler import VisitSampler
from frex.errors import FRExError
from frex.losses.encoder_3d_losses import CameraLoss
from frex.options.data import MixOptions
from frex_arch.camera import ffhq_intrinsics, frontal_camera, look_at, mirror_camera, pack_camera
from frex_arch.crop import MEAN_CROP, mirror_crop

# Degrees; in bins of 5: six from 0, two from 20 (one to each side), one from 40.
YAWS = [0.5, 1, 2, 3, -4, -4.5, 22, -23, 41]
CROP = (1.1, -0.07, -0.12)


@pytest.fixture(scope='module')
def rendered(tmp_path_factory):
    """Grey images, each of another brightness, with cameras of known yaw and one crop."""
    folder = tmp_path_factory.mktemp('rendered')
    names = [f'img{number}.png' for number in range(len(YAWS))]
    for number, name in enumerate(names):
        cv2.imwrite(str(folder / name), np.full((64, 64, 3), 10 * number, np.uint8))
    yaw = torch.tensor(YAWS).deg2rad()
    cameras = pack_camera(look_at(yaw, torch.zeros(len(YAWS))), ffhq_intrinsics()[None])
    labels = [[name, camera.tolist()] for name, camera in zip(names, cameras, strict=True)]
    (folder / 'dataset.json').write_text(json.dumps({'labels': labels, 'crops': [[name, CROP] for name in names]}))
    return folder


def mix(folder, **changes):
    return {'dataroot_gt': str(folder), 'camera_labels': str(folder / 'dataset.json'), 'ratio': 0.59} | changes


def mixed(face_folder, rendered, changes=None, **own):
    options = {'name': 'faces', 'type': 'FaceDegradationDataset', 'dataroot_gt': str(face_folder), 'gt_size': 64, 'use_hflip': True}
    return FaceDegradationDataset(options | {'mix': mix(rendered, **(changes or {}))} | own)


def picks(folder, visits=6000, **changes):
    mixed = Mix(MixOptions(**mix(folder, **changes)), 0, 'mix')
    return Counter(mixed.pick(epoch, visit) for epoch in (0, 1) for visit in range(visits // 2))


@pytest.mark.parametrize('ratio', [0.0, 0.25, 0.59])
def test_the_ratio_is_the_share_of_visits(rendered, ratio):
    # Five standard deviations of a binomial.
    assert 6000 - picks(rendered, ratio=ratio)[None] == pytest.approx(6000 * ratio, abs=5 * (6000 * ratio * (1 - ratio)) ** 0.5)


def test_bins_are_five_degrees_to_either_side(rendered):
    cameras = Mix(MixOptions(**mix(rendered)), 0, 'mix').faces.cameras
    assert [each.tolist() for each in yaw_bins(cameras)] == [[0, 1, 2, 3, 4, 5], [6, 7], [8]]


def test_each_bin_is_drawn_equally_often_and_so_is_each_image_in_it(rendered):
    counts = picks(rendered, ratio=0.9)
    drawn = 6000 - counts.pop(None)
    expected = [drawn / 3 / 6] * 6 + [drawn / 3 / 2] * 2 + [drawn / 3]
    assert [counts[index] for index in range(9)] == pytest.approx(expected, rel=0.25)
    assert sum(counts[index] for index in range(6)) == pytest.approx(drawn / 3, rel=0.08)


def test_without_balance_all_images_are_drawn_equally_often(rendered):
    counts = picks(rendered, ratio=0.9, balance_yaw=False)
    drawn = 6000 - counts.pop(None)
    assert [counts[index] for index in range(9)] == pytest.approx([drawn / 9] * 9, rel=0.25)


def test_a_mixed_run_is_the_same_whatever_the_number_of_workers(face_folder, rendered):
    runs = []
    for workers in (0, 1, 2):
        dataset = mixed(face_folder, rendered)
        sampler = VisitSampler(dataset, num_replicas=1, rank=0, ratio=3)
        loader = DataLoader(dataset, batch_size=5, sampler=sampler, num_workers=workers)
        runs.append([batch for epoch in (0, 1) for batch in (sampler.set_epoch(epoch), *loader)[1:]])
    for other in runs[1:]:
        for one, two in zip(runs[0], other, strict=True):
            assert all(torch.equal(one[key], two[key]) for key in ('lq', 'gt', 'camera', 'crop', 'has_camera'))


def test_the_length_and_the_own_images_stay_as_without_mixing(face_folder, rendered):
    plain, dataset = mixed(face_folder, rendered, mix=None), mixed(face_folder, rendered)
    assert len(dataset) == len(plain) == 5
    own = [visit for visit in range(40) if not dataset[3, visit]['has_camera']]
    assert 8 < len(own) < 25
    for visit in own:
        one, other = dataset[3, visit], plain[3, visit]
        assert torch.equal(one['lq'], other['lq'])
        assert torch.equal(one['crop'], other['crop'])
        assert 'camera' not in other


def test_other_epochs_and_seeds_take_others(face_folder, rendered):
    dataset = mixed(face_folder, rendered)
    other = mixed(face_folder, rendered, seed=1)
    visits = [[each[epoch, visit]['gt_path'] for visit in range(30)] for each, epoch in ((dataset, 0), (dataset, 1), (other, 0))]
    assert visits[0] != visits[1]
    assert visits[0] != visits[2]


def test_labels_and_crops_come_along_and_are_flipped_with_the_image(face_folder, rendered):
    dataset = mixed(face_folder, rendered, {'use_hflip': True})
    faces = dataset.mix.faces
    flips = []
    for visit in range(60):
        sample = dataset[0, visit]
        if not sample['has_camera']:
            assert torch.equal(sample['camera'], frontal_camera()[0])
            continue
        number = int(sample['name'].removeprefix('img'))
        camera, crop = torch.from_numpy(faces.cameras[number])[None], torch.tensor([CROP])
        flipped = bool(sample['crop'][1] != crop[0, 1])
        flips.append(flipped)
        torch.testing.assert_close(sample['gt'], torch.full((3, 64, 64), 20 * number / 255 - 1))
        torch.testing.assert_close(sample['camera'], (mirror_camera(camera) if flipped else camera)[0])
        torch.testing.assert_close(sample['crop'], (mirror_crop(crop) if flipped else crop)[0])
    assert 8 < sum(flips) < len(flips) - 8


def test_mixed_in_images_are_not_flipped_unless_asked(face_folder, rendered):
    samples = [mixed(face_folder, rendered)[0, visit] for visit in range(40)]
    crops = torch.stack([sample['crop'] for sample in samples if sample['has_camera']])
    torch.testing.assert_close(crops, torch.tensor([CROP]).expand(len(crops), 3))


@pytest.mark.parametrize(('crop', 'expected'), [(None, CROP), ((1.0, 0.0, 0.0), (1, 0, 0)), (MEAN_CROP, MEAN_CROP)])
def test_an_explicit_crop_wins_over_those_of_the_labels(rendered, crop, expected):
    faces = Mix(MixOptions(**mix(rendered, crop=crop)), 0, 'mix').faces
    torch.testing.assert_close(faces.crop(3, flip=False), torch.tensor(expected, dtype=torch.float32))


def test_the_camera_loss_looks_at_the_samples_that_have_a_camera():
    camera = torch.zeros(3, 25, requires_grad=True)
    target = torch.ones(3, 25)
    target[1] = 3.0
    loss = CameraLoss(loss_weight=2.0)(camera, target, torch.tensor([True, True, False]))
    assert loss.item() == pytest.approx(2 * (1 + 3) / 2)
    loss.backward()
    assert camera.grad[:2].count_nonzero() == 50
    assert camera.grad[2].count_nonzero() == 0


def test_a_batch_without_cameras_costs_nothing_and_has_a_gradient():
    camera = torch.zeros(2, 25, requires_grad=True)
    loss = CameraLoss()(camera, torch.ones(2, 25), torch.zeros(2, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert camera.grad.count_nonzero() == 0


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'ratio': 1.0}, r'datasets\.train\.mix\.ratio: 1\.0 is not a fraction of the visits, from 0 to below 1'),
        ({'ratio': -0.1}, r'datasets\.train\.mix\.ratio: -0\.1 is not a fraction'),
        ({'raito': 0.5}, r"datasets\.train\.mix\.raito: unknown key; did you mean 'ratio'"),
        ({'camera_labels': None}, r'datasets\.train\.mix\.camera_labels: missing; .* or set balance_yaw: false'),
        ({'dataroot_gt': '/no/such/folder'}, r'datasets\.train\.mix\.dataroot_gt: no folder /no/such/folder'),
        ({'crop': [0, 0, 0]}, r'datasets\.train\.mix\.crop: the scale of a crop must be above 0'),
    ],
)
def test_bad_options_of_a_mixture_are_told(face_folder, rendered, changes, message):
    with pytest.raises(FRExError, match=message):
        mixed(face_folder, rendered, changes)


def test_only_training_is_mixed(face_folder, rendered):
    with pytest.raises(FRExError, match=r'datasets\.val\.mix: only the training set can have images mixed in'):
        mixed(face_folder, rendered, phase='val')

"""The data set: samples, labels, seeds, and the sampler that asks for them."""

import json

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from frex.data.face_degradation_dataset import FaceDegradationDataset, read_degradation
from frex.data.labels import parse_labels
from frex.data.sampler import VisitSampler
from frex.errors import FRExError
from frex_arch.camera import frontal_camera, mirror_camera
from frex_arch.crop import MEAN_CROP, mirror_crop


def options(folder, **changes):
    return {'name': 'faces', 'type': 'FaceDegradationDataset', 'dataroot_gt': str(folder), 'gt_size': 64, 'phase': 'train'} | changes


@pytest.fixture(scope='module')
def labels(face_folder):
    """A label file in another order than the folder's, each camera marked by its x position."""
    cameras = []
    for number, path in reversed(list(enumerate(sorted(face_folder.iterdir())))):
        camera = frontal_camera()[0]
        camera[3] = 0.1 * number
        cameras.append([path.name, camera.tolist()])
    path = face_folder.parent / 'dataset.json'
    path.write_text(json.dumps({'labels': cameras}))
    return path


def test_a_sample_has_the_stated_shapes_and_range(face_folder):
    sample = FaceDegradationDataset(options(face_folder))[0]
    assert sample['lq'].shape == sample['gt'].shape == (3, 64, 64)
    assert sample['lq'].min() >= -1
    assert sample['gt'].max() <= 1
    torch.testing.assert_close(sample['crop'], torch.tensor(MEAN_CROP))
    assert sample['gt_path'].endswith('face0.png')
    assert 'camera' not in sample


def test_images_are_rgb(tmp_path):
    import cv2

    blue = np.zeros((64, 64, 3), np.uint8)
    blue[:, :, 0] = 255
    cv2.imwrite(str(tmp_path / 'blue.png'), blue)
    gt = FaceDegradationDataset(options(tmp_path))[0]['gt']
    assert gt.mean(dim=(1, 2)).tolist() == [-1, -1, 1]


def test_a_sample_depends_on_seed_epoch_and_visit_alone(face_folder):
    dataset = FaceDegradationDataset(options(face_folder, seed=3))
    again = FaceDegradationDataset(options(face_folder, seed=3))
    np.random.seed(1)  # noqa: NPY002 (what must not matter)
    torch.manual_seed(1)
    assert torch.equal(dataset[1, 2]['lq'], again[1, 2]['lq'])
    others = [dataset[2, 2], dataset[1, 2 + len(dataset)], FaceDegradationDataset(options(face_folder, seed=4))[1, 2]]
    assert all(torch.equal(other['gt'], dataset[1, 2]['gt']) for other in others)
    assert not any(torch.equal(other['lq'], dataset[1, 2]['lq']) for other in others)


def test_validation_never_repeats_what_training_saw(face_folder):
    training, validation = (FaceDegradationDataset(options(face_folder, phase=phase)) for phase in ('train', 'val'))
    assert all(torch.equal(training[index]['gt'], validation[index]['gt']) for index in range(5))
    assert not any(torch.equal(training[index]['lq'], validation[index]['lq']) for index in range(5))


def test_labels_with_folders_are_found_by_name(face_folder, tmp_path):
    labels = tmp_path / 'dataset.json'
    camera = frontal_camera()[0].tolist()
    content = [[f'{number:05d}/{path.name}', camera] for number, path in enumerate(sorted(face_folder.iterdir()))]
    labels.write_text(json.dumps({'labels': content}))
    assert FaceDegradationDataset(options(face_folder, camera_labels=str(labels)))[0]['camera'].tolist() == pytest.approx(camera)
    labels.write_text(json.dumps({'labels': [*content, ['other/face0.png', camera]]}))
    with pytest.raises(FRExError, match=r'no camera for 1 of 5 images, first face0\.png'):
        FaceDegradationDataset(options(face_folder, camera_labels=str(labels)))


def test_an_image_that_is_known_to_have_no_label_has_no_camera(face_folder, tmp_path):
    labels = tmp_path / 'dataset.json'
    names, camera = sorted(path.name for path in face_folder.iterdir()), look_right().tolist()
    crop = [1.1, -0.07, -0.12]
    content = [[name, None if name == names[2] else camera] for name in names]
    crops = [[name, crop] for name in names if name != names[2]]
    labels.write_text(json.dumps({'labels': content, 'crops': crops}))
    dataset = FaceDegradationDataset(options(face_folder, camera_labels=str(labels)))
    assert [bool(dataset[index]['has_camera']) for index in range(5)] == [True, True, False, True, True]
    assert dataset[1]['camera'].tolist() == pytest.approx(camera)
    torch.testing.assert_close(dataset[2]['camera'], frontal_camera()[0])
    torch.testing.assert_close(dataset[1]['crop'], torch.tensor(crop))
    torch.testing.assert_close(dataset[2]['crop'], torch.tensor(MEAN_CROP))


def look_right():
    camera = frontal_camera()[0]
    camera[3] = 0.5
    return camera


def first_epochs(dataset, workers):
    sampler = VisitSampler(dataset, num_replicas=1, rank=0, ratio=2, seed=0)
    loader = DataLoader(dataset, batch_size=2, sampler=sampler, num_workers=workers, persistent_workers=workers > 0)
    batches = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        batches += [batch['lq'] for batch in loader]
    return torch.cat(batches)


def test_a_run_is_the_same_whatever_the_number_of_workers(face_folder):
    dataset = FaceDegradationDataset(options(face_folder, use_hflip=True))
    alone = first_epochs(dataset, workers=0)
    assert len(alone) == 20
    assert torch.equal(alone, first_epochs(dataset, workers=2))
    assert len(torch.unique(alone.flatten(1), dim=0)) == 20


def test_labels_go_by_name(face_folder, labels):
    dataset = FaceDegradationDataset(options(face_folder, camera_labels=str(labels)))
    assert [dataset[index]['camera'][3].item() for index in range(5)] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])


def test_a_flip_flips_image_camera_and_crop_together(face_folder, labels):
    plain = FaceDegradationDataset(options(face_folder, camera_labels=str(labels)))
    flipping = FaceDegradationDataset(options(face_folder, camera_labels=str(labels), use_hflip=True))
    pairs = [(flipping[0, visit], plain[0, visit]) for visit in range(40)]
    flipped = [(a, b) for a, b in pairs if not torch.equal(a['gt'], b['gt'])]
    assert 10 < len(flipped) < 30
    for a, b in flipped:
        assert torch.equal(a['gt'], b['gt'].flip(-1))
        assert torch.equal(a['camera'], mirror_camera(b['camera'][None])[0])
        assert torch.equal(a['crop'], mirror_crop(b['crop'][None])[0])


def test_degradation_presets_can_be_changed_key_by_key():
    changed = read_degradation({'preset': 'release', 'blur_sigma': [1, 2]}, 'here')
    assert (changed.blur_sigma, changed.downsample_range) == ((1, 2), (4, 16))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'dataroot_gt': '/no/such/folder'}, r'datasets\.train\.dataroot_gt: no folder /no/such/folder'),
        ({'gt_szie': 3}, r"datasets\.train\.gt_szie: unknown key; did you mean 'gt_size'"),
        ({'degradation': {'preset': 'papre'}}, r"no preset 'papre'; did you mean 'paper'"),
        ({'degradation': {'blur_sgima': [1, 2]}}, r"degradation\.blur_sgima: unknown key; did you mean 'blur_sigma'"),
        ({'degradation': {'blur_sigma': 3}}, r'Expected `array`, got `int` - at `\$\.blur_sigma`'),
        ({'camera_labels': '/no/labels.json'}, r'camera_labels: /no/labels\.json cannot be read'),
    ],
)
def test_bad_options_are_told_key_and_remedy(face_folder, changes, message):
    with pytest.raises(FRExError, match=message):
        FaceDegradationDataset(options(face_folder, **changes))


def test_an_empty_folder_is_named(tmp_path):
    (tmp_path / 'notes.txt').write_text('no image')
    with pytest.raises(FRExError, match=f'no image in {tmp_path}'):
        FaceDegradationDataset(options(tmp_path))


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('[1', 'is not EG3D'),
        ('{"labels": null}', 'is not EG3D'),
        ('{"labels": [["face0.png", [1, 2]]]}', r'face0\.png is not 25 finite numbers'),
        ('{"labels": []}', r'no camera for 5 of 5 images, first face0\.png'),
    ],
)
def test_bad_labels_are_named(face_folder, tmp_path, content, message):
    labels = tmp_path / 'dataset.json'
    labels.write_text(content)
    with pytest.raises(FRExError, match=message):
        FaceDegradationDataset(options(face_folder, camera_labels=str(labels)))


def test_a_damaged_image_is_named(tmp_path):
    (tmp_path / 'broken.png').write_bytes(b'\x89PNG\r\n')
    with pytest.raises(FRExError, match=r'broken\.png: not an image'):
        FaceDegradationDataset(options(tmp_path))[0]


def test_each_image_has_the_crop_of_its_labels(face_folder, labels, tmp_path):
    content = json.loads(labels.read_text())
    crops = {f'face{number}.{suffix}': (1 + number / 10, -0.05, 0.2) for number, suffix in enumerate(['png', 'png', 'jpg', 'webp', 'bmp'])}
    with_crops = tmp_path / 'dataset.json'
    with_crops.write_text(json.dumps(content | {'crops': list(crops.items())}))
    labelled = options(face_folder, camera_labels=str(with_crops))
    dataset, flipping = (FaceDegradationDataset(labelled | {'use_hflip': flip}) for flip in (False, True))
    expected = torch.tensor(sorted(crops.values()))
    torch.testing.assert_close(torch.stack([dataset[index]['crop'] for index in range(5)]), expected)
    # Mirrored: 1 - s - t_x = 1 - 1.2 + 0.05.
    assert {round(flipping[epoch, 2]['crop'][1].item(), 4) for epoch in range(20)} == {-0.05, -0.15}
    assert FaceDegradationDataset(labelled | {'crop': [1, 0, 0]})[3]['crop'].tolist() == [1, 0, 0]
    with_crops.write_text(json.dumps(content | {'crops': list(crops.items())[:3]}))
    with pytest.raises(FRExError, match=r'camera_labels: no crop for 2 of 5 images, first face3\.webp'):
        FaceDegradationDataset(labelled)


def test_a_bare_label_is_not_taken_for_two_images(face_folder, tmp_path):
    for folder in ('a', 'b'):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / 'face0.png').write_bytes((face_folder / 'face0.png').read_bytes())
    labels = tmp_path / 'dataset.json'
    labels.write_text(json.dumps({'labels': [['face0.png', frontal_camera()[0].tolist()]]}))
    with pytest.raises(FRExError, match=r'no camera for 2 of 2 images, first a/face0\.png'):
        FaceDegradationDataset(options(tmp_path, camera_labels=str(labels)))


def test_a_file_name_that_another_folder_has_without_a_label_is_no_key(tmp_path):
    content = {'labels': [['a/1.png', [0.0] * 25], ['b/1.png', None]], 'crops': [['a/1.png', [1, 0, 0]]]}
    labels = parse_labels(json.dumps(content), tmp_path)
    assert set(labels.cameras) == set(labels.crops) == {'a/1.png'}
    assert labels.unlabelled == {'b/1.png'}


def test_ranks_share_an_epoch_without_overlap():
    dataset = range(5)
    visits = [list(VisitSampler(dataset, 2, rank, ratio=3)) for rank in (0, 1)]
    assert sorted(visit for rank in visits for _, visit in rank) == list(range(16))
    assert {epoch for rank in visits for epoch, _ in rank} == {0}
    assert list(VisitSampler(dataset, 2, 0, 3, seed=1)) != visits[0]

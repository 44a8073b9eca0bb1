"""Images that cannot be read are told before a run; those that are damaged later are replaced, counted and logged."""

import shutil
from argparse import Namespace

import numpy as np
import pytest
import torch
from option_files import IN_ONE_PROCESS, face_folders
from tiny import TINY_OPTIONS
from tiny_model import build
from torch.utils.data import DataLoader

from frex.cli.main import main
from frex.data.face_degradation_dataset import MOST_DAMAGED, FaceDegradationDataset
from frex.data.sampler import VisitSampler
from frex.data.sources import FolderSource
from frex.errors import FRExError
from frex.images import write_image
from frex.training import check_data
from frex.training.check_data import check_images


@pytest.fixture
def faces(face_folder, tmp_path):
    """Five images of which one, the third, is cut off."""
    folder = shutil.copytree(face_folder, tmp_path / 'faces')
    damage(sorted(folder.iterdir())[2])
    return folder


def damage(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def open_set(folder, **changes):
    return FaceDegradationDataset({'name': 'faces', 'dataroot_gt': str(folder), 'gt_size': 64, 'phase': 'train'} | changes)


def equal(one, other):
    return all(torch.equal(one[key], other[key]) if torch.is_tensor(one[key]) else one[key] == other[key] for key in one)


# --- The data set


def test_another_image_takes_the_place_of_a_damaged_one_and_all_else_stays(faces, face_folder):
    damaged, whole = open_set(faces), open_set(face_folder)
    replaced = damaged[4, 7]
    assert replaced['damaged'].startswith(f'{sorted(faces.iterdir())[2]}: ')
    assert replaced['name'] in {whole[4, visit]['name'] for visit in (5, 6, 8, 9)}
    for visit in (5, 6, 8, 9):
        assert damaged[4, visit]['damaged'] == ''
        assert torch.equal(damaged[4, visit]['lq'], whole[4, visit]['lq'])


def test_the_replacement_depends_on_seed_epoch_and_visit_alone(faces):
    assert all(equal(open_set(faces)[epoch, 7], open_set(faces)[epoch, 7]) for epoch in range(5))
    assert len({open_set(faces)[epoch, 7]['name'] for epoch in range(12)}) > 1


def test_workers_make_the_same_batches(faces):
    dataset = open_set(faces)

    def batches(workers):
        return list(DataLoader(dataset, 2, sampler=VisitSampler(dataset, 1, 0, ratio=2), num_workers=workers))

    for one, other in zip(batches(0), batches(2), strict=True):
        assert torch.equal(one['lq'], other['lq'])
        assert one['damaged'] == other['damaged']


def test_a_mixed_image_is_replaced_too(faces, face_folder):
    dataset = open_set(face_folder, mix={'dataroot_gt': str(faces), 'ratio': 0.9, 'balance_yaw': False})
    samples = [dataset[0, visit] for visit in range(40)]
    assert 0 < sum(bool(sample['damaged']) for sample in samples) < 20


def test_validation_takes_no_other_image(faces):
    with pytest.raises(FRExError, match='damaged'):
        open_set(faces, phase='val')[2]


def test_where_nothing_but_damaged_images_follow_training_ends(faces):
    for path in faces.iterdir():
        damage(path)
    with pytest.raises(FRExError, match=rf'^datasets\.train: {MOST_DAMAGED} images in a row cannot be read, the last: .*faces/face'):
        open_set(faces)[0, 0]


# --- Before a run


def test_of_a_training_set_some_are_read_and_few_may_be_damaged(tmp_path, capsys):
    for number in range(300):
        write_image(tmp_path / f'{number:03d}.bmp', np.zeros((2, 2, 3), np.uint8))
    source = FolderSource(tmp_path, 'here')
    damage(tmp_path / '200.bmp')
    check_images(source, 'here', 150)
    assert capsys.readouterr().err == f'here: {tmp_path}/200.bmp: not an image, or a damaged one; another image is taken in its place\n'
    with pytest.raises(FRExError, match=rf'^here: 1 of 300 images that were read are damaged: {tmp_path}/200\.bmp: not an image'):
        check_images(source, 'here', 300)
    for number in range(0, 300, 50):
        damage(tmp_path / f'{number:03d}.bmp')
    with pytest.raises(FRExError, match=r'^here: 6 of 150 images that were read are damaged: .*000\.bmp: .*, \.\.\.$'):
        check_images(source, 'here', 150)


@pytest.mark.parametrize('phase', ['train', 'val'])
def test_a_damaged_image_is_named_before_anything_is_made(faces, face_folder, tmp_path, monkeypatch, capsys, phase):
    monkeypatch.chdir(tmp_path)
    folders = face_folders(*((faces, face_folder) if phase == 'train' else (face_folder, faces)))
    assert main(['train', '-opt', str(TINY_OPTIONS), *folders, *IN_ONE_PROCESS]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert f'datasets.{phase}.dataroot_gt: 1 of 5 images that were read are damaged: {sorted(faces.iterdir())[2]}: ' in error
    assert not (tmp_path / 'experiments').exists()


# --- In a run


@pytest.mark.slow
def test_a_run_with_a_damaged_image_logs_it_once_and_resumes_as_if_never_stopped(faces, face_folder, tmp_path, monkeypatch, caplog):
    """Only the first image is looked at before the run."""
    monkeypatch.setattr(check_data, 'SAMPLED', 1)
    short = ['datasets:train:batch_size_per_gpu=2', 'datasets:train:dataset_enlarge_ratio=1', 'val=~']
    short += ['logger:save_checkpoint_freq=1', 'train:total_iter=3']
    command = ['train', '-opt', str(TINY_OPTIONS), '--auto_resume', *face_folders(faces, face_folder), *IN_ONE_PROCESS, *short]
    monkeypatch.chdir(tmp_path)
    weights = []
    for _ in range(2):
        assert main(command) == 0
        weights.append(torch.load(next(tmp_path.glob('experiments/*/models/net_g_3.pth')), weights_only=True)['params'])
        for path in [*tmp_path.glob('experiments/*/*/*_[23].pth'), *tmp_path.glob('experiments/*/*/[23].state')]:
            path.unlink()
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    told = [record.message for record in caplog.records if 'another image is taken in its place' in record.message]
    assert 1 <= len(told) <= 2
    assert all(line.startswith(str(sorted(faces.iterdir())[2])) and '(1 such images so far)' in line for line in told)


def test_a_validation_leaves_out_what_it_cannot_read_any_more(faces, tmp_path, caplog):
    model = build(tmp_path, val={'grid_images': 3})
    model.opt['path']['visualization'] = str(tmp_path)
    dataset = FaceDegradationDataset(model.opt['datasets']['val'] | {'dataroot_gt': str(faces)})
    model.validation(Namespace(dataset=dataset), 1, None)
    without = shutil.copytree(faces, tmp_path / 'without')
    sorted(without.iterdir())[2].unlink()
    assert 'left out of the validation' in caplog.text
    assert np.isfinite(model.metric_results['psnr'])
    for path in faces.iterdir():
        damage(path)
    with pytest.raises(FRExError, match='none of its images can be read any more'):
        model.validation(Namespace(dataset=dataset), 2, None)

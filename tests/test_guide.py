"""docs/train.md is true: its commands are run in their order, with tiny networks, few images and few steps."""

import re
import shlex
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from labelled_heads import (
    FFHQ_CROP,
    SYMMETRIC,
    DotDetector,
    camera,
    counted_labels,
    cropping_entry,
    mirrored,
    write_cropping_params,
    write_face,
    write_label_file,
)
from processes import ROOT
from tiny import tiny_eg3d_file, tiny_frex, tiny_network_options

from frex.camera_labels.estimate import LandmarkFinder
from frex.cli.main import main
from frex.data.labels import drop_bare_names, read_labels
from frex.options import SHIPPED_FOLDER, load_options
from frex.weights.manifest import manifest
from frex.weights.network_file import NetworkFile, save_safetensors

BLOCKS = re.findall(r'```(bash|python)\n(.*?)```', (ROOT / 'docs/train.md').read_text(), re.DOTALL)
TORCHRUN = 'torchrun --nproc_per_node=8 -m frex'
# The other way to labels.
ESTIMATED = 'frex cameras estimate datasets/ffhq/ffhq_512 -o datasets/ffhq/dataset.json'
# What is smaller here.
SMALLER = {
    '-n 100000': '-n 6 --device cpu',
    '-n 3000': '-n 3',
    '--size 512': '--size 64',
    ESTIMATED: ESTIMATED.replace('dataset.json', 'estimated.json'),
}
FFHQ = [f'{number:05d}.png' for number in range(5)]
STAGES = {'train_frex_3d': 'train_frex_3d_tiny', 'train_frex': 'train_frex_tiny'}


@pytest.fixture
def machine(tmp_path, monkeypatch, manifest_of):
    """A folder with what the user of the guide has downloaded, and option files of the shipped names, data and weights."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('FREX_HOME', str(tmp_path / 'weights'))
    monkeypatch.setattr(LandmarkFinder, 'from_weights', lambda weights, device, threshold: LandmarkFinder(DotDetector(), None, threshold))
    write_weights(tmp_path / 'weights', manifest_of)
    cameras = {name: camera(20 * number - 40, number) for number, name in enumerate(FFHQ)}
    for name, label in cameras.items():
        write_face(tmp_path / 'datasets/ffhq/images1024x1024/00000' / name, label, FFHQ_CROP)
        write_face(tmp_path / 'datasets/celebahq' / name, label, FFHQ_CROP)
    write_face(tmp_path / 'datasets/celeba_val/0.png', camera(0), FFHQ_CROP)
    # EG3D has no label for the last one.
    named = {name: cameras[name] for name in FFHQ[:-1]}
    folder = tmp_path / 'datasets/eg3d_ffhq'
    folder.mkdir()
    mirrors = {name.replace('.png', '_mirror.png'): mirrored(label) for name, label in named.items()}
    write_label_file(folder / 'dataset.json', counted_labels(named | mirrors))
    landmarks = (760, 740) + 290 * SYMMETRIC[:, :2] * (1, -1)
    write_cropping_params(folder / 'cropping_params.json', **{Path(name).stem: cropping_entry(landmarks) for name in named})
    write_options(tmp_path / 'options')
    return tmp_path


def write_weights(folder, manifest_of):
    """Files of the tiny network under the keys of the official ones; the networks of losses and metrics are too large for a test."""
    folder.mkdir()
    net, options = tiny_frex(seed=5), tiny_network_options()
    save_safetensors(folder / 'eg3d.safetensors', tiny_eg3d_file())
    arguments = {'out_size': 64, **options['stylegan2']}
    save_safetensors(folder / 'stylegan2.safetensors', NetworkFile('StyleGAN2', arguments, net.stylegan2.state_dict()))
    torch.save(net.encoder_3d.backbone.swin.state_dict(), folder / 'swin.pth')
    (folder / 'retinaface.pth').write_bytes(b'not read')
    files = {
        'ffhqrebalanced512-128': 'eg3d.safetensors',
        'stylegan2-ffhq512': 'stylegan2.safetensors',
        'swin_v2_b': 'swin.pth',
        'retinaface_resnet50': 'retinaface.pth',
    }
    others = [replace(file, tasks=[]) for file in manifest().values() if file.key not in files]
    manifest_of(*others, *(replace(manifest()[key], file=file, size=None, sha256=[], urls=[]) for key, file in files.items()))


def write_options(folder):
    """The tiny form of both stages, with images, labels, mixture and weights of the shipped options."""
    folder.mkdir()
    for name, tiny in STAGES.items():
        shipped = load_options(SHIPPED_FOLDER / f'{name}.yml')
        data = {
            phase: {key: dataset[key] for key in ('dataroot_gt', 'camera_labels', 'mix') if key in dataset}
            for phase, dataset in shipped['datasets'].items()
        }
        data['train'] |= {'num_worker_per_gpu': 0, 'persistent_workers': False, 'batch_size_per_gpu': 2}
        options = {
            '_base_': str(SHIPPED_FOLDER / f'{tiny}.yml'),
            'name': name,
            'datasets': data,
            'path': shipped['path'],
            'train': {'total_iter': 2, 'camera_opt': shipped['train']['camera_opt']},
            'val': {'val_freq': 2, 'grid_images': None},
            'logger': {'print_freq': 1, 'use_tb_logger': False},
        }
        (folder / f'{name}.yml').write_text(yaml.safe_dump(options))


def tiny(command):
    """The arguments of `frex` for a command of the guide, in one process and with few images."""
    for text, smaller in SMALLER.items():
        command = command.replace(text, smaller)
    program, *arguments = shlex.split(command.replace(TORCHRUN, 'frex'))
    assert program == 'frex'
    return arguments


@pytest.mark.slow
def test_the_guide_leads_from_nothing_to_the_table(machine, capsys, caplog):
    caplog.set_level('INFO', 'basicsr')
    printed = {}
    for language, block in BLOCKS:
        if language == 'python':
            exec(compile(block, 'docs/train.md', 'exec'), {})  # noqa: S102 (our own page)
            continue
        for command in block.splitlines():
            assert main(tiny(command)) == 0, f'{command}\n{capsys.readouterr().err}'
            printed[command] = capsys.readouterr().out
    told = '\n'.join(printed.values())
    assert 'numbers its 8 labels' in told
    assert 'images without a label: 1 (00004.png)' in told
    assert sorted(path.name for path in Path('experiments').iterdir()) == ['train_frex', 'train_frex_3d']
    # The camera loss (Eq. 12) acts in both stages, and stage B begins with stage A's encoder.
    steps = [record.message for record in caplog.records if 'l_g_camera: ' in record.message]
    assert [re.search(r'iter: +(\d)', step)[1] for step in steps] == ['1', '2', '1', '2']
    assert 'Loading encoder_3d of experiments/train_frex_3d/models/net_g_latest.pth' in caplog.text
    assert 'the term is left out' not in caplog.text
    assert len(read_labels(Path('datasets/eg3d/images/dataset.json')).cameras) == 12
    table = Path('results/table1.md').read_text()
    assert re.search(r'\| FREx +\|.* \d+\.\d+', table.replace('*', ''))
    assert len(list(Path('results/cameras/faces').iterdir())) == len(FFHQ) - 1
    assert len(drop_bare_names(read_labels(Path('datasets/ffhq/estimated.json')).cameras)) == len(FFHQ)
    assert np.unique(cv2.imread('datasets/ffhq/ffhq_512/00000.png')).size > 4


def test_the_guide_starts_nothing_without_its_files(machine, capsys):
    """Its first training command, before any other."""
    assert main(['train', '-opt', 'options/train_frex_3d.yml']) == 1
    error = capsys.readouterr().err
    for command in (
        'frex cameras import DATASET_JSON --images datasets/ffhq/ffhq_512 -o datasets/ffhq/dataset.json',
        'frex synthesize -o ',
    ):
        assert command in error
    assert not Path('experiments').exists()

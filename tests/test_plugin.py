"""What the user of a BasicSR plugin types: `import frex.registry`, then BasicSR's own functions, each time in a new interpreter."""

import pytest
import torch
from option_files import IN_ONE_PROCESS, face_folders

TRAIN = """
import os
import frex.registry
from basicsr.train import train_pipeline
if __name__ == '__main__':
    train_pipeline(os.getcwd())
"""
TEST = TRAIN.replace('basicsr.train', 'basicsr.test').replace('train_pipeline', 'test_pipeline')


@pytest.fixture(scope='module')
def run(interpreter):
    """Return a function that answers the output of a script, which is run in a folder."""

    def run_script(folder, script, *arguments):
        done = interpreter.run(script, *arguments, folder=folder)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout + done.stderr

    return run_script


def overrides(faces, *more):
    short = ['val:val_freq=2', 'logger:print_freq=1', 'logger:save_checkpoint_freq=2', *IN_ONE_PROCESS]
    return [*face_folders(faces), *short, *more]


@pytest.fixture(scope='module')
def trained(run, face_folder, tmp_path_factory):
    """A folder in which BasicSR's `train_pipeline` has made two steps of stage A, and what it printed."""
    folder = tmp_path_factory.mktemp('plugin')
    gpu = ['datasets:train:prefetch_mode=cuda', 'datasets:train:pin_memory=true']
    changes = overrides(face_folder, 'train:total_iter=2', 'train:encoder_3d_lr=4e-3', *gpu)
    return folder, run(folder, TRAIN, '-opt', 'options/train_frex_3d_tiny.yml', *changes)


def test_basicsrs_training_runs_on_shipped_options(trained):
    folder, printed = trained
    # From the file, from its `_base_`, and from the command line.
    assert 'optim_d_latent:[\n      type: Adam\n      lr: 0.0005' in printed
    assert 'iter:       2, lr:(4.000e-03,)' in printed
    assert '# psnr: ' in printed
    models = folder / 'experiments/train_frex_3d_tiny/models'
    assert {path.name for path in models.iterdir()} >= {'net_g_2.pth', 'net_g_latest.pth', 'net_d_latent_2.pth'}
    assert (folder / 'experiments/train_frex_3d_tiny/train_frex_3d_tiny.yml').exists()


def test_basicsrs_training_resumes_without_a_gpu(run, trained, face_folder):
    folder, _ = trained
    printed = run(folder, TRAIN, '-opt', 'options/train_frex_3d_tiny.yml', '--auto_resume', *overrides(face_folder, 'train:total_iter=3'))
    assert 'Resuming training from epoch: 0, iter: 2.' in printed
    assert 'iter:       3' in printed
    assert [path.name for path in (folder / 'experiments').iterdir()] == ['train_frex_3d_tiny']


def test_basicsrs_test_runs_on_options_without_some_sections(run, checkpoint, face_folder, tmp_path):
    changes = [f'datasets:test_1:dataroot_gt={face_folder}', f'path:pretrain_network_g={checkpoint}']
    printed = run(tmp_path, TEST, '-opt', 'options/test_frex_tiny.yml', '--force_yml', *changes)
    assert '# ssim: ' in printed
    assert len(list((tmp_path / 'results/test_frex_tiny/visualization/faces').iterdir())) == 5


PARTS = """
import frex.registry
import numpy as np
import yaml
from basicsr.archs import build_network
from basicsr.losses import build_loss
from basicsr.metrics import calculate_metric
from basicsr.utils.options import ordered_yaml

with open('mine.yml') as stream:
    options = yaml.load(stream, Loader=ordered_yaml()[0])
print(options, yaml.dump({'lr': 0.5}, Dumper=ordered_yaml()[1]).strip())
print(type(build_network({'type': 'LatentDiscriminator', 'w_dim': options['w_dim']})).__module__)
print(type(build_loss({'type': 'CameraLoss', 'loss_weight': 2e-3})).__name__)
faces = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
print(calculate_metric({'img': faces[0], 'img2': faces[1]}, {'type': 'FID', 'better': 'lower', 'weights': None}))
"""


def test_networks_losses_and_metrics_are_registered(run, tmp_path):
    (tmp_path / 'base.yml').write_text('lr: 2e-3\nw_dim: 8\n')
    (tmp_path / 'mine.yml').write_text('_base_: base.yml\nw_dim: 16\n')
    printed = run(tmp_path, PARTS).splitlines()[-4:]
    assert printed == [
        "{'lr': 0.002, 'w_dim': 16} lr: 0.5",
        'frex_arch.discriminators',
        'CameraLoss',
        '<FID of 1 images; its float is the distance>',
    ]


def test_the_checkpoint_is_one_that_frex_reads(trained):
    folder, _ = trained
    content = torch.load(folder / 'experiments/train_frex_3d_tiny/models/net_g_latest.pth', weights_only=True)
    assert {'params', 'params_ema'} <= content.keys()

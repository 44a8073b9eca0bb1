"""Tests of the commands as users type them: train on a folder, check the files, restore with the checkpoint, and bad input."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from option_files import IN_ONE_PROCESS, face_folders
from processes import ROOT, Command

from frex import __main__ as module_entry
from frex import compat
from frex.cli.main import basicsr, main
from frex.cli.restore import main as inference

SCRIPTS = Path(sys.executable).parent
TINY = 'options/train_frex_tiny.yml'


@pytest.fixture(scope='module')
def run_folder(face_folder, tmp_path_factory):
    """Return a folder in which `basicsr train` has run for four iterations."""
    folder = tmp_path_factory.mktemp('elsewhere')
    short = ['train:total_iter=4', 'val:val_freq=2', 'val:save_img=true', 'logger:print_freq=1', 'logger:save_checkpoint_freq=2']
    command = [str(SCRIPTS / 'basicsr'), 'train', '-opt', TINY, *face_folders(face_folder), *short, 'datasets:train:num_worker_per_gpu=2']
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope='module')
def experiment(run_folder):
    return run_folder / 'experiments' / 'train_frex_tiny'


def test_training_writes_basicsrs_folders_below_the_working_directory(run_folder, experiment):
    assert sorted(path.name for path in run_folder.iterdir()) == ['experiments', 'tb_logger']
    models = {path.name for path in (experiment / 'models').iterdir()}
    assert models == {f'net_{name}_{step}.pth' for name in ('g', 'd_dual', 'd_multi_scale') for step in ('2', '4', 'latest')}
    assert {path.name for path in (experiment / 'training_states').iterdir()} == {'2.state', '4.state'}
    assert {path.name for path in (experiment / 'visualization/face0').iterdir()} >= {'face0_2.png', 'face0_4.png'}


def test_the_log_holds_every_iteration_and_validation(experiment):
    log = next(experiment.glob('train_train_frex_tiny_*.log')).read_text()
    for step in (1, 2, 3, 4):
        assert f'iter:       {step}, lr:(2.000e-03,2.000e-04,)' in log
    assert 'l_g_pyramid: ' in log
    assert log.count('# psnr: ') >= 2
    assert '# ssim: ' in log


def test_the_options_are_kept_as_they_were_asked_for(experiment, face_folder):
    kept = yaml.safe_load((experiment / 'train_frex_tiny.yml').read_text())
    assert kept['datasets']['train']['dataroot_gt'] == str(face_folder)
    assert kept['train']['total_iter'] == 4
    assert 'path' not in kept or 'models' not in kept['path']


def test_the_checkpoint_restores_faces(experiment, face_folder, tmp_path):
    model = experiment / 'models/net_g_latest.pth'
    done = Command(inference, '-i', face_folder, '-o', tmp_path, '--model_path', model, '--aligned', folder=tmp_path)
    assert done.wait() == 0, done.stderr
    assert len(list((tmp_path / 'restored_faces').iterdir())) == 5


@pytest.mark.slow
def test_training_resumes_where_it_stopped(run_folder, face_folder):
    resumed = run_folder / 'experiments/train_frex_tiny/training_states'
    command = ['train', '-opt', TINY, '--auto_resume', *face_folders(face_folder), 'train:total_iter=6', 'val=~']
    done = Command(main, *command, 'logger:save_checkpoint_freq=3', 'logger:print_freq=1', *IN_ONE_PROCESS, folder=run_folder)
    assert done.wait() == 0, done.stderr[-3000:]
    assert 'Resuming training from epoch: 0, iter: 4' in done.stderr
    state = torch.load(resumed / '6.state', weights_only=True)
    assert state['iter'] == 6
    assert state['optimizers'][0]['state'][0]['step'] == 6


def test_a_trained_network_is_tested(experiment, face_folder, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    caplog.set_level('INFO', 'basicsr')
    model = experiment / 'models/net_g_latest.pth'
    command = ['test', '-opt', str(ROOT / 'options/test_frex_tiny.yml'), '--force_yml', f'path:pretrain_network_g={model}']
    assert basicsr([*command, f'datasets:test_1:dataroot_gt={face_folder}']) == 0
    assert len(list((tmp_path / 'results/test_frex_tiny/visualization/faces').iterdir())) == 5
    assert '# psnr: ' in caplog.text


@pytest.mark.parametrize(
    ('val', 'images', 'measured'),
    [
        ('{val_freq: 1}', 0, 0),
        ('{val_freq: 1, save_img: true, metrics: ~}', 5, 0),
        ('{val_freq: 1, pbar: true, metrics: {psnr: {type: calculate_psnr, crop_border: 0}}}', 0, 1),
    ],
)
@pytest.mark.slow
def test_a_validation_needs_nothing_but_its_frequency(face_folder, tmp_path, monkeypatch, caplog, val, images, measured):
    monkeypatch.chdir(tmp_path)
    caplog.set_level('INFO', 'basicsr')
    changes = [*face_folders(face_folder), 'train:total_iter=1', f'val={val}', *IN_ONE_PROCESS]
    assert main(['train', '-opt', TINY, *changes]) == 0
    assert len(list(tmp_path.glob('experiments/train_frex_tiny/visualization/*/*_1.png'))) == images
    # BasicSR validates once more at the end.
    assert caplog.text.count('# psnr: ') == measured


def test_a_test_needs_no_section_of_its_own(checkpoint, face_folder, tmp_path, monkeypatch, caplog):
    caplog.set_level('INFO', 'basicsr')
    monkeypatch.chdir(tmp_path)
    changes = [f'datasets:test_1:dataroot_gt={face_folder}', f'path:pretrain_network_g={checkpoint}', 'val=~']
    assert main(['test', '-opt', 'options/test_frex_tiny.yml', '--force_yml', *changes]) == 0
    assert list((tmp_path / 'results/test_frex_tiny').rglob('*.png')) == []
    assert 'Testing faces...' in caplog.text


def test_a_test_without_weights_is_refused(face_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    changes = [f'datasets:test_1:dataroot_gt={face_folder}', 'path:pretrain_network_g=~']
    assert basicsr(['test', '-opt', 'options/test_frex_tiny.yml', '--force_yml', *changes]) == 1
    assert 'path.pretrain_network_g: missing; a test needs a trained network' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_an_older_run_is_kept(run_folder, face_folder):
    command = ['train', '-opt', TINY, *face_folders(face_folder), 'train:total_iter=1', 'val=~', 'name=kept', *IN_ONE_PROCESS]
    for _ in range(2):
        assert Command(basicsr, *command, folder=run_folder).wait() == 0
    assert len(list((run_folder / 'experiments').glob('kept*'))) == 2


CRITICS = [f'{key}=~' for critic in ('dual', 'multi_scale') for key in (f'network_d_{critic}', f'train:{critic}_gan_opt')]
ONLY_CAMERA = ['train:pixel_opt=~', 'train:pyramid_opt=~', *CRITICS]
BAD_OPTIONS = [
    (['network_g:use_abw=false'], "network_g.use_abw: unknown key; did you mean 'use_awb'?"),
    (['network_g:eg3d:plane_szie=8'], "network_g.eg3d.plane_szie: unknown key; did you mean 'plane_size'?"),
    (['network_d_dual:out_szie=8'], "network_d_dual.out_szie: unknown key; did you mean 'out_size'?"),
    (['network_g:type=FRXe'], "network_g.type: no 'FRXe' is registered; did you mean 'FREx'?"),
    (['network_g:out_size=96'], 'network_g: image sizes are powers of two'),
    (['model_type=FRExModle'], "model_type: no 'FRExModle' is registered; did you mean 'FRExModel'?"),
    (['datasets:train:gt_size=32'], 'gt_size: 32, but network_g.out_size is 64'),
    (['train:optim_g:lr=fast'], 'train: Expected `float`, got `str` - at `$.optim_g.lr`'),
    (['train:optim_g:btas=[0, 1]'], "train.optim_g.btas: unknown key; did you mean 'betas'?"),
    (['train:net_d_reg_every=0'], 'net_d_reg_every must be at least 1, not 0'),
    (['train:pixel_opt:type=L1Los'], "train.pixel_opt.type: no 'L1Los' is registered; did you mean 'L1Loss'?"),
    (['train:pixel_opt:weight=1'], "train.pixel_opt: L1Loss.__init__() got an unexpected keyword argument 'weight'"),
    (['train:scheduler:type=StepLR'], "train.scheduler.type: 'StepLR'; known: MultiStepLR"),
    (['train:pixel_opt=~', 'train:pyramid_opt=~', 'train:camera_opt=~'], 'train: no loss'),
    (['val:val_frq=3'], "val.val_frq: unknown key; did you mean 'val_freq'?"),
    (['val:grid_images=-1'], 'val.grid_images: a whole number of at least 1 is needed, not -1'),
    (['val:val_freq=0'], 'val.val_freq: a whole number of at least 1 is needed, not 0'),
    (['logger:print_freq=0'], 'logger.print_freq: a whole number of at least 1 is needed, not 0'),
    (['train:encoder_3d_lr=-1'], 'encoder_3d_lr must be above 0, not -1'),
    (['datasets:train:prefetch_mode=cuda'], 'datasets.train.pin_memory: prefetch_mode: cuda needs true'),
    (['val:metrics:fid={{type: FID}}'], 'val.metrics.fid.better: missing; lower or higher'),
    (['val:metrics:deg={{type: calculate_deg, weights: ~}}'], 'val.metrics.deg.better: missing; lower or higher'),
    (['val:metrics:psnr:better=more'], "val.metrics.psnr.better: 'more'; lower or higher"),
    (['val:metrics:psnr:type=psnr'], "val.metrics.psnr.type: no 'psnr' is registered; known: FID, calculate_deg"),
    (['val:metrics:fid={{type: FID, better: lower, statistics: no.pth}}'], 'val.metrics.fid.statistics: no.pth: no such file'),
    (
        ['val:metrics:niqe={{type: calculate_niqe, crop_border: 0, better: lower}}'],
        'val.metrics.niqe: NIQE needs images of at least 192 pixels',
    ),
    (['val:metrics:lpips={{type: calculate_lpips, net: vgg19}}'], "val.metrics.lpips: net 'vgg19' is not one of ['vgg', 'alex']"),
    (['val:metrics:deg={{type: calculate_deg, wieghts: x}}'], "val.metrics.deg.wieghts: unknown key; did you mean 'weights'?"),
    (['path:pretrain_netwrok_g=x'], "path.pretrain_netwrok_g: unknown key; did you mean 'pretrain_network_g'?"),
    (['val:save_best=[lpips]'], "val.save_best: no metric 'lpips'; known: psnr, ssim"),
    (['logger:keep_last=0'], 'logger.keep_last: a whole number of at least 1 is needed, not 0'),
    (['train:frozen_parts=[encoder3d]'], "train.frozen_parts: 'encoder3d' is no part of FREx; did you mean 'encoder_3d'?"),
    (["train:frozen_parts=['']"], "train.frozen_parts: '' is no part of FREx; known: decoder_2d"),
    (
        ['train:frozen_parts=[encoder_3d, encoder_2d, pyramid_3d, decoder_2d, fusion]'],
        'train.frozen_parts: nothing is left to train; take a part out of ',
    ),
    ([*ONLY_CAMERA, 'datasets:train:camera_labels=~', 'datasets:train:mix=~'], 'no loss is left; camera_opt needs datasets.train.camera_l'),
    (
        [*ONLY_CAMERA, 'train:frozen_parts=[encoder_3d]'],
        'train: no loss is left; camera_opt would train encoder_3d only, which train.frozen_parts freezes',
    ),
    (['train:accumulate=3'], 'train.accumulate: 3 parts of a batch_size_per_gpu of 4 are not equal'),
    (['train:grad_clip=-1'], 'grad_clip must be above 0, not -1'),
    (['train:perceptual_opt={{type: PerceptualLoss}}'], 'use VGGPerceptualLoss and StyleLoss'),
    (['train:identity_opt={{type: IdentityLoss, distance: l2}}'], "train.identity_opt: distance is 'l1' or 'cosine', not 'l2'"),
    (['train:identity_opt={{type: IdentityLoss, wieghts: x}}'], "train.identity_opt.wieghts: unknown key; did you mean 'weights'?"),
    (['network_g:use_3d_prior=false', 'train:offset_norm_opt={{type: OffsetNormLoss}}'], 'offset_norm_opt: needs the 3D prior'),
    (['network_d_dul=~'], "network_d_dul: unknown key; did you mean 'network_d_dual'?"),
    (['network_d_dual:out_size=32'], 'network_d_dual.out_size: 32, but network_g.out_size is 64'),
    (['network_d_multi_scale:sizes=[16, 128]'], 'network_d_multi_scale.sizes: 128 is not one of the sizes 8 to 64'),
    (['datasets:val:type=PairedImageDataset'], "datasets.val.type: 'PairedImageDataset'; FRExModel takes"),
    (['manual_sed=1'], "manual_sed: unknown key; did you mean 'manual_seed'?"),
    (['manual_seed=one'], 'Expected `int`, got `str` - at `$.manual_seed`'),
    (['path:strict_load_d_dual=1'], 'path: Expected `bool`, got `int` - at `$.strict_load_d_dual`'),
    (['train:pixel_opt={{loss_weight: 1}}'], 'train.pixel_opt.type: missing; known: '),
    (['train:pixle_opt=~'], "train.pixle_opt: unknown key; did you mean 'pixel_opt'?"),
    (['train:dual_gan_opt=~'], 'train.dual_gan_opt: missing, but there is a network_d_dual'),
    (['datasets:train=~'], 'datasets.train: missing'),
    (['datasets:train:dataset_enlarge_ratio=1', 'datasets:train:batch_size_per_gpu=6'], '5 images are fewer'),
]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['-opt', 'no.yml'], '-opt: no file no.yml; option files in'),
        (['-opt', TINY, *face_folders('{empty}')], f'{TINY}: datasets.train.dataroot_gt: no image in'),
        *((['-opt', TINY, *face_folders('{faces}'), *changes], message) for changes, message in BAD_OPTIONS),
    ],
)
def test_bad_input_is_one_line_and_status_1_before_anything_is_created(face_folder, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    empty = tmp_path / 'empty'
    empty.mkdir()
    assert main(['train', *(argument.format(empty=empty, faces=face_folder) for argument in arguments)]) == 1
    printed = capsys.readouterr().err.strip()
    assert printed.startswith('frex: error: ')
    assert message in printed
    assert '\n' not in printed
    assert [path.name for path in tmp_path.iterdir()] == ['empty']


def test_a_damaged_training_image_stops_training_with_its_name(face_folder, tmp_path):
    (tmp_path / 'faces').mkdir()
    (tmp_path / 'faces/broken.png').write_bytes(b'\x89PNG\r\n')
    command = ['train', '-opt', TINY, *face_folders(tmp_path / 'faces'), 'val=~', 'train:total_iter=1']
    done = Command(basicsr, *command, folder=tmp_path)
    assert done.wait() == 1
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith('basicsr: error: ')
    assert f'1 of 1 images that were read are damaged: {tmp_path}/faces/broken.png: not an image, or a damaged one' in line


@pytest.mark.parametrize('command', [main, basicsr, inference, module_entry.main])
def test_help_is_there(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        command(['--help'])
    assert stopped.value.code == 0
    assert 'usage: ' in capsys.readouterr().out


@pytest.mark.parametrize('command', [[SCRIPTS / 'frex'], [sys.executable, ROOT / 'inference_frex.py']])
def test_help_is_there_where_it_is_typed(command):
    assert subprocess.run([*command, '--help'], capture_output=True, text=True, check=True).stdout.startswith('usage: ')


@pytest.mark.parametrize(
    ('command', 'arguments', 'typed'), [(main, ['restore'], 'frex restore'), (inference, [], 'python inference_frex.py')]
)
def test_the_example_in_the_help_of_restoring_is_of_the_command_that_was_typed(command, arguments, typed, capsys):
    with pytest.raises(SystemExit):
        command([*arguments, '--help'])
    assert capsys.readouterr().out.endswith(f'\nexample: {typed} -i photos -o results -s 2\n')


# --- Models of BasicSR itself

OTHER_MODEL = """
name: other
model_type: SRModel
scale: 2
datasets:
  train: &data
    name: pairs
    type: PairedImageDataset
    dataroot_gt: gt
    dataroot_lq: lq
    io_backend: {type: disk}
    gt_size: 32
    use_hflip: true
    use_rot: false
    num_worker_per_gpu: 0
    batch_size_per_gpu: 2
    dataset_enlarge_ratio: 1
  val: *data
network_g: {type: EDSR, num_in_ch: 3, num_out_ch: 3, num_feat: 4, num_block: 1, upscale: 2}
network_teacher: {type: EDSR, key_of_another_model: 1}
path:
  pretrain_network_g: edsr.pth
  param_key_g: params_ema
  pretrain_network_teacher: teacher.pth
  key_of_another_model: {}
train:
  optim_g: {type: Adam, lr: 1.0e-4, weight_decay: 0, betas: [0.9, 0.99]}
  scheduler: {type: MultiStepLR, milestones: [5], gamma: 0.5}
  total_iter: 1
  warmup_iter: -1
  pixel_opt: {type: L1Loss, loss_weight: 1.0, reduction: mean}
  another_opt: {type: LossOfAnotherModel}
val:
  val_freq: 1
  key_of_another_model: 1
  metrics:
    psnr: {type: calculate_psnr, crop_border: 0}
"""


@pytest.fixture
def other_model(tmp_path, monkeypatch):
    """Return a folder with options, pairs of images, and network files for one of BasicSR's own models."""
    compat.install()
    from basicsr.archs.edsr_arch import EDSR

    monkeypatch.chdir(tmp_path)
    Path('other.yml').write_text(OTHER_MODEL)
    for folder, size in (('gt', 64), ('lq', 32)):
        Path(folder).mkdir()
        for number in range(2):
            cv2.imwrite(f'{folder}/{number}.png', np.full((size, size, 3), 40 + 80 * number, np.uint8))
    # BasicSR's own loader takes `params` where there is no `params_ema`.
    torch.manual_seed(3)
    torch.save({'params': EDSR(3, 3, num_feat=4, num_block=1, upscale=2).state_dict()}, 'edsr.pth')
    torch.save({'params': {}, 'iterations': 3}, 'teacher.pth')
    return Path('experiments/other')


def test_a_model_of_basicsr_is_trained_with_its_own_options(other_model, caplog):
    caplog.set_level('INFO', 'basicsr')
    assert main(['train', '-opt', 'other.yml']) == 0
    started = torch.load('edsr.pth', weights_only=True)['params']
    trained = torch.load(other_model / 'models/net_g_latest.pth', weights_only=True)['params']
    assert trained.keys() == started.keys()
    # One step of Adam moves each weight by the learning rate.
    assert max((value - started[name]).abs().max() for name, value in trained.items()) == pytest.approx(1e-4, rel=0.05)
    assert '# psnr: ' in caplog.text


def test_its_files_must_be_there_and_whole(other_model, capsys):
    Path('edsr.pth').write_bytes(Path('edsr.pth').read_bytes()[:-100])
    Path('teacher.pth').unlink()
    assert main(['train', '-opt', 'other.yml']) == 1
    printed = capsys.readouterr().err
    assert 'no file teacher.pth' in printed
    assert printed.splitlines()[-1] == (
        'frex: error: other.yml: 2 of 2 files cannot be used: path.pretrain_network_g, path.pretrain_network_teacher'
    )
    assert not other_model.parent.exists()

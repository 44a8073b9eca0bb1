"""Files of weights that a training names: all checked before anything is created, each loaded into its part."""

import shlex

import pytest
import torch
import yaml
from official_files import (
    INIT,
    RENDERING,
    augment_pipe,
    eg3d_network,
    rosinality_checkpoint,
    rosinality_state,
    with_label_deviation,
    write_pickle,
)
from option_files import IN_ONE_PROCESS, face_folders
from tiny import TINY_OPTIONS, tiny_frex, tiny_network_options

from frex.cli.main import main
from frex.weights.manifest import WeightFile, manifest
from frex.weights.network_file import NetworkFile, save_safetensors
from frex.weights.priors import differing_settings, read_prior
from frex_arch import StyleGAN2

SMALLER = {'num_style_feat': 32, 'num_mlp': 2, 'narrow': 0.125}


@pytest.fixture(scope='module')
def priors(tmp_path_factory):
    """Files for each part of the tiny network, and some that are for none."""
    folder = tmp_path_factory.mktemp('priors')
    net = tiny_frex(seed=5)
    stylegan2 = net.stylegan2.state_dict()
    swin = net.encoder_3d.backbone.swin.state_dict()
    torch.save({'G_ema': net.eg3d.state_dict()}, folder / 'eg3d.pth')
    torch.save({'params': {}, 'params_ema': stylegan2}, folder / 'stylegan2.pth')
    torch.save(swin | {'norm.weight': torch.ones(1), 'head.weight': torch.ones(1)}, folder / 'swin.pth')
    torch.save({'params': stylegan2}, folder / 'not_averaged.pth')
    torch.save({'params': net.state_dict()}, folder / 'net_g.pth')
    save_safetensors(folder / 'smaller.safetensors', NetworkFile('StyleGAN2', SMALLER, StyleGAN2(out_size=64, **SMALLER).state_dict()))
    half = {'out_size': 32}
    save_safetensors(folder / 'half_size.safetensors', NetworkFile('FREx', tiny_network_options(**half), tiny_frex(**half).state_dict()))
    save_safetensors(
        folder / 'rendered_larger.safetensors', NetworkFile('EG3D', {'out_size': 64, 'render_size': 32}, net.eg3d.state_dict())
    )
    return folder


@pytest.fixture
def train(bare_machine, face_folder, priors):
    """Runs one iteration in an empty folder, with `path` entries relative to the folder of priors."""

    def run(*more, **path):
        files = [f'path:{key}={priors / name if (priors / name).exists() else name}' for key, name in path.items()]
        short = ['train:total_iter=1', 'val=~', 'datasets:train:batch_size_per_gpu=2', *IN_ONE_PROCESS]
        folders = face_folders(face_folder, face_folder.with_name('two'))
        return main(['train', '-opt', str(TINY_OPTIONS), *folders, *short, *files, *more])

    return run


def table(text):
    """Rows by their option; columns are two blanks or more apart."""
    lines = [line for line in text.splitlines() if line.startswith(('path.', 'train.', 'datasets.'))]
    rows = [[cell.strip() for cell in line.split('  ') if cell.strip()] for line in lines]
    return {row[0].removeprefix('path.'): row[1:] for row in rows}


def saved():
    return torch.load('experiments/train_frex_tiny/models/net_g_latest.pth', weights_only=True)['params']


def test_each_file_goes_into_its_part_and_frozen_ones_stay_as_they_were(train):
    files = {'pretrain_network_eg3d': 'eg3d.pth', 'pretrain_network_stylegan2': 'stylegan2.pth', 'pretrain_network_backbone': 'swin.pth'}
    assert train('train:total_iter=2', **files) == 0
    expected = tiny_frex(seed=5).state_dict()
    for name, value in saved().items():
        if name.startswith(('eg3d.', 'stylegan2.')):
            assert torch.equal(value, expected[name]), name
    # The backbone is trained on: two steps of 2e-4 from where the file starts it.
    name = 'encoder_3d.backbone.swin.features.0.0.weight'
    assert 0 < (saved()[name] - expected[name]).abs().max() < 1e-3


def test_checkpoints_of_the_official_training_loops_go_into_their_parts(train, tmp_path):
    net = tiny_frex(seed=5)
    rendering = RENDERING | {'depth_resolution': net.eg3d.depth_samples, 'depth_resolution_importance': net.eg3d.importance_samples}
    network = eg3d_network(with_label_deviation(net.eg3d.state_dict()), INIT, rendering, net.eg3d.render_size)
    write_pickle(tmp_path / 'eg3d.pkl', network, augment_pipe=augment_pipe())
    torch.save(rosinality_checkpoint(rosinality_state(net.stylegan2.state_dict())), tmp_path / 'stylegan2.pt')
    assert train(pretrain_network_eg3d='eg3d.pkl', pretrain_network_stylegan2='stylegan2.pt') == 0
    expected, loaded = tiny_frex(seed=5).state_dict(), saved()
    frozen = [name for name in loaded if name.startswith(('eg3d.', 'stylegan2.'))]
    assert len(frozen) > 100
    assert [name for name in frozen if not torch.equal(loaded[name], expected[name])] == []


def test_without_the_files_the_parts_start_elsewhere(train):
    assert train() == 0
    name = 'eg3d.decoder.net.0.weight'
    assert not torch.equal(saved()[name], tiny_frex(seed=5).state_dict()[name])


def test_a_checkpoint_brings_its_own_priors(train):
    other = tiny_frex(seed=6).stylegan2.state_dict()
    torch.save({'params_ema': other}, 'other.pth')
    assert train(pretrain_network_g='net_g.pth', pretrain_network_stylegan2='other.pth') == 0
    name = 'stylegan2.style_mlp.1.weight'
    assert torch.equal(saved()[name], tiny_frex(seed=5).state_dict()[name])


def test_a_part_that_the_network_does_without_needs_no_file(train):
    assert train('network_g:use_3d_prior=false', 'train:camera_opt=~', pretrain_network_eg3d='eg3d.pth') == 0


def test_another_rendering_than_the_files_is_told(train, caplog):
    assert train(pretrain_network_eg3d='rendered_larger.safetensors') == 0
    assert 'eg3d: render_size is 16; the file was made with 32.' in caplog.text


def test_a_setting_that_a_checkpoint_has_by_default_is_compared(tmp_path):
    save_safetensors(tmp_path / 'net.safetensors', NetworkFile('FREx', tiny_network_options(), tiny_frex().state_dict()))
    part = read_prior('eg3d', tmp_path / 'net.safetensors')
    own = tiny_network_options()
    assert differing_settings(part, own) == {}
    assert differing_settings(part, own | {'eg3d': own['eg3d'] | {'box_warp': 2.0}}) == {'box_warp': (1.0, 2.0)}


@pytest.mark.parametrize(
    ('option', 'file', 'state', 'fix'),
    [
        (
            'pretrain_network_eg3d',
            'ffhqrebalanced512-128',
            'ffhqrebalanced512-128.pkl is missing',
            'frex weights download ffhqrebalanced512-128',
        ),
        (
            'pretrain_network_eg3d',
            'swin.pth',
            'not a network that FREx knows',
            '--force_yml path:pretrain_network_eg3d=ffhqrebalanced512-128',
        ),
        ('pretrain_network_eg3d', 'stylegan2.pth', 'holds the weights of StyleGAN2, not of EG3D', 'path:pretrain_network_eg3d=ffhqreb'),
        (
            'pretrain_network_stylegan2',
            'not_averaged.pth',
            'has no params_ema; it holds params',
            'path:pretrain_network_stylegan2=stylegan2-',
        ),
        (
            'pretrain_network_stylegan2',
            'experiments/pretrained_models/StyleGAN2_512_Cmul1_FFHQ_B12G4_scratch_800k.pth',
            'no file experiments/',
            'frex weights download stylegan2-ffhq512, and name it stylegan2-ffhq512',
        ),
        ('pretrain_network_backbone', 'swin_v2_bb', 'no file swin_v2_bb', "FILE (did you mean 'swin_v2_b'?)"),
        ('pretrain_network_backbone', 'eg3d.pth', "'G_ema' is no weight but a ", '--force_yml path:pretrain_network_backbone=swin_v2_b'),
        ('pretrain_network_d_dual', 'net_g.pth', 'the weights do not fit DualDiscriminator: ', 'frex weights check '),
        ('pretrain_network_stylegan2', 'half_size.safetensors', 'the weights do not fit StyleGAN2: ', ' network_g:out_size=32 '),
        ('resume_state', 'lost.state', 'no file lost.state', 'path:resume_state=FILE'),
    ],
)
def test_what_cannot_be_used_is_a_line_with_what_fixes_it(train, tmp_path, capsys, option, file, state, fix):
    assert train(**{option: file}) == 1
    error = capsys.readouterr().err
    row = table(error)[option]
    assert row[1].startswith(state)
    assert fix in row[2]
    assert error.splitlines()[-1].endswith(f'1 of 1 files cannot be used: path.{option}')
    assert not (tmp_path / 'experiments').exists()


def test_all_files_are_checked_and_told_together(train, tmp_path, capsys):
    files = {'pretrain_network_eg3d': 'eg3d.pth', 'pretrain_network_stylegan2': 'nowhere.pth', 'pretrain_network_backbone': 'swin_v2_b'}
    assert train(**files) == 1
    error = capsys.readouterr().err
    assert {option: row[1] for option, row in table(error).items()} == {
        'pretrain_network_eg3d': 'fits',
        'pretrain_network_stylegan2': 'no file nowhere.pth',
        'pretrain_network_backbone': 'swin_v2_b-781e5279.pth is missing',
    }
    assert '2 of 3 files cannot be used' in error
    assert not (tmp_path / 'experiments').exists()


def test_weights_images_labels_and_mixture_that_are_missing_are_told_together(train, tmp_path, capsys):
    (tmp_path / 'eg3d/images').mkdir(parents=True)
    mix = '{dataroot_gt: eg3d/images, camera_labels: eg3d/images/dataset.json, ratio: 0.5}'
    data = ['datasets:train:dataroot_gt=no faces', 'datasets:train:camera_labels=labels.json', f'datasets:train:mix={mix}']
    assert train(*data, 'datasets:val:dataroot_gt=val', pretrain_network_backbone='swin_v2_b') == 1
    error = capsys.readouterr().err
    rows = table(error)
    assert {option: row[1] for option, row in rows.items()} == {
        'pretrain_network_backbone': 'swin_v2_b-781e5279.pth is missing',
        'datasets.train.dataroot_gt': 'is not there',
        'datasets.train.camera_labels': 'is not there',
        'datasets.train.mix': 'is not whole, it has no dataset.json',
        'datasets.val.dataroot_gt': 'is not there',
    }
    commands = [line.strip() for line in error.splitlines() if line.startswith(' ')]
    assert commands == [
        "or frex cameras estimate 'no faces' -o labels.json",
        "or without: --force_yml 'datasets:train:camera_labels=~'",
        "or without: --force_yml 'datasets:train:mix=~'",
        "or without: --force_yml 'datasets:val=~'",
    ]
    assert rows['datasets.train.camera_labels'][2] == "frex cameras import DATASET_JSON --images 'no faces' -o labels.json"
    assert rows['datasets.train.mix'][2] == 'frex synthesize -o eg3d -n 100000'
    assert error.splitlines()[-1].startswith(f'frex: error: {TINY_OPTIONS}: 5 of 5 files and folders cannot be used: ')
    assert [path.name for path in tmp_path.iterdir()] == ['eg3d']
    # Without them on purpose.
    assert train('datasets:train:camera_labels=~', 'datasets:train:mix=~', 'datasets:val=~') == 0


def test_a_mixture_of_other_images_and_a_stage_that_was_not_trained_are_told(train, capsys):
    mix = '{dataroot_gt: others, camera_labels: others.json, ratio: 0.5}'
    stage_a = 'experiments/train_frex_3d_tiny/models/net_g_latest.pth'
    assert train(f'datasets:train:mix={mix}', pretrain_network_encoder_3d=stage_a) == 1
    rows = table(capsys.readouterr().err)
    assert rows['datasets.train.mix.dataroot_gt'] == ['others', 'is not there', '--force_yml datasets:train:mix:dataroot_gt=FOLDER']
    assert rows['datasets.train.mix.camera_labels'][2] == 'frex cameras import DATASET_JSON --images others -o others.json'
    assert rows['pretrain_network_encoder_3d'][2] == 'frex train -opt options/train_frex_3d_tiny.yml'


@pytest.mark.parametrize(('option', 'file'), [('pretrain_network_stylegan2', 'smaller.safetensors'), ('pretrain_network_g', 'net_g.pth')])
@pytest.mark.slow
def test_the_command_that_fixes_a_line_does(train, capsys, option, file):
    """As it stands in the table, for another network than the options describe, and for weights that are not there."""
    requested = ['path:param_key_g=params_ema']
    assert train(*requested, **{option: file}) == 1
    command = shlex.split(table(capsys.readouterr().err)[option][2])
    assert command[0] == '--force_yml'
    assert train(*requested, *command[1:], **{option: file}) == 0


@pytest.mark.parametrize('name', ["it's my net.pth", 'two; $(words) & "more".pth'])
def test_a_path_is_one_word_of_the_command_that_fixes_it(train, priors, tmp_path, capsys, name):
    (tmp_path / name).write_bytes((priors / 'net_g.pth').read_bytes())
    assert train(pretrain_network_d_dual=str(tmp_path / name)) == 1
    command = shlex.split(table(capsys.readouterr().err)['pretrain_network_d_dual'][2])
    assert command == ['frex', 'weights', 'check', str(tmp_path / name)]


@pytest.mark.parametrize(('net', 'key'), [('', 'vgg16'), (', net: vgg', 'vgg16'), (', net: alex', 'alexnet')])
@pytest.mark.slow
def test_without_a_word_lpips_needs_the_trunk_of_its_net(train, priors, capsys, net, key):
    option = 'train.perceptual_opt.weights'
    assert train(f'train:perceptual_opt={{type: LPIPSLoss{net}}}') == 1
    row = table(capsys.readouterr().err)[option]
    assert row == [key, f'{manifest()[key].file} is missing', f'frex weights download {key}']
    assert train(f'train:perceptual_opt={{type: LPIPSLoss{net}, weights: {priors / "eg3d.pth"}}}') == 1
    assert table(capsys.readouterr().err)[option][2] == f'--force_yml train:perceptual_opt:weights={key}'


def test_only_the_first_process_prints_the_table(train, monkeypatch, capsys):
    monkeypatch.setenv('RANK', '1')
    assert train(pretrain_network_eg3d='ffhq512-128') == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_file_is_found_by_its_key_in_an_old_place_and_kept_by_it(train, tmp_path, priors, monkeypatch):
    file = WeightFile('tiny', 'tiny_eg3d.pth', 'a test', [], None, [], 'none', ['http://127.0.0.1/tiny_eg3d.pth'])
    monkeypatch.setitem(manifest(), 'tiny', file)
    place = tmp_path / 'experiments/pretrained_models'
    place.mkdir(parents=True)
    (place / 'tiny_eg3d.pth').write_bytes((priors / 'eg3d.pth').read_bytes())
    assert train(pretrain_network_eg3d='tiny') == 0
    name = 'eg3d.decoder.net.0.weight'
    assert torch.equal(saved()[name], tiny_frex(seed=5).state_dict()[name])
    kept = yaml.safe_load((tmp_path / 'experiments/train_frex_tiny/train_frex_tiny.yml').read_text())
    assert kept['path']['pretrain_network_eg3d'] == 'tiny'


@pytest.mark.slow
def test_resuming_needs_none_of_the_files(train):
    assert train('logger:save_checkpoint_freq=1', pretrain_network_eg3d='eg3d.pth') == 0
    state = 'experiments/train_frex_tiny/training_states/1.state'
    assert train('train:total_iter=2', f'path:resume_state={state}', pretrain_network_eg3d='gone.pth') == 0
    name = 'eg3d.decoder.net.0.weight'
    assert torch.equal(saved()[name], tiny_frex(seed=5).state_dict()[name])


@pytest.mark.slow
def test_a_resumed_run_checks_the_files_of_the_networks_that_it_ignores(train, priors, capsys):
    assert train('logger:save_checkpoint_freq=1', pretrain_network_eg3d='eg3d.pth') == 0
    state = 'path:resume_state=experiments/train_frex_tiny/training_states/1.state'
    ignored = [state, 'train:total_iter=2', 'path:ignore_resume_networks=[network_g]']
    assert train(*ignored, pretrain_network_eg3d='ffhqrebalanced512-128', pretrain_network_d_dual='gone.pth') == 1
    rows = table(capsys.readouterr().err)
    assert rows['pretrain_network_eg3d'][1] == 'ffhqrebalanced512-128.pkl is missing'
    assert 'pretrain_network_d_dual' not in rows
    assert train(*ignored, pretrain_network_g='not_averaged.pth') == 1
    assert table(capsys.readouterr().err)['pretrain_network_g'][1].startswith('the weights do not fit FREx')
    # A file with `params` only: the averaged network starts from them, too.
    assert train(*ignored, pretrain_network_g='net_g.pth') == 0
    name = 'stylegan2.style_mlp.1.weight'
    assert torch.equal(saved()[name], tiny_frex(seed=5).state_dict()[name])

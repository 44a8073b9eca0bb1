"""Files as the official training loops write them, with what a network that was just built does not have."""

import argparse
import re
from collections import OrderedDict

import pytest
import torch
from official_files import (
    INIT,
    MINI_EG3D,
    RENDERING,
    assert_same,
    augment_pipe,
    eg3d_network,
    mini_eg3d,
    nvidia_state,
    rosinality_checkpoint,
    rosinality_state,
    stylegan2_network,
    with_label_deviation,
    write_pickle,
    write_pth,
    write_safetensors,
)
from tiny import tiny_frex

from frex.cli.main import main
from frex.errors import FRExError
from frex.losses.vgg_losses import FrozenVGG, _vgg_features
from frex.weights.network_file import load_network, read_network
from frex.weights.nvidia_pickle import read_nvidia_pickle
from frex.weights.priors import check_prior, load_prior
from frex.weights.torch_file import ScriptOptions, read_torch_file
from frex_arch import StyleGAN2

# --- EG3D

EG3D_FORMS = {
    'pkl': lambda path, state: write_pickle(path, eg3d_network(state, INIT, RENDERING, 64)),
    'pth, bare': write_pth,
    'pth, G_ema': lambda path, state: write_pth(path, {'G_ema': state}),
    'pth, G': lambda path, state: write_pth(path, {'G': state}),
    'safetensors': write_safetensors,
}
WRONG = {
    'too short': torch.zeros(24),
    'of two dimensions': torch.zeros(1, 25),
    'of whole numbers': torch.zeros(25, dtype=torch.int64),
    'of one number': torch.tensor(1.0),
}


@pytest.mark.parametrize('form', EG3D_FORMS)
def test_the_buffer_of_the_official_loop_is_dropped(tmp_path, form):
    state = mini_eg3d().state_dict()
    path = EG3D_FORMS[form](tmp_path / 'file', with_label_deviation(state))
    assert_same(read_network(path).state, state)
    assert_same(load_network(path).state_dict(), state)


@pytest.mark.parametrize('form', EG3D_FORMS)
@pytest.mark.parametrize('wrong', WRONG)
def test_such_a_buffer_of_another_kind_is_surplus(tmp_path, form, wrong):
    path = EG3D_FORMS[form](tmp_path / 'file', {'dataset_label_std': WRONG[wrong]} | mini_eg3d().state_dict())
    with pytest.raises(FRExError, match=r'file: the weights do not fit EG3D: 1 unexpected \(dataset_label_std\.\* 1\)$'):
        load_network(path)


@pytest.mark.parametrize('form', EG3D_FORMS)
@pytest.mark.parametrize('name', ['dataset_label_mean', 'backbone.dataset_label_std', 'decoder.dataset_label_std'])
def test_any_other_surplus_weight_is_an_error(tmp_path, form, name):
    path = EG3D_FORMS[form](tmp_path / 'file', with_label_deviation(mini_eg3d().state_dict()) | {name: torch.zeros(25)})
    with pytest.raises(FRExError, match=rf'file: the weights do not fit EG3D: 1 unexpected \({re.escape(name)}\.\* 1\)$'):
        load_network(path)


def test_the_buffer_is_no_part_of_another_network(tmp_path):
    state = StyleGAN2(out_size=8, num_style_feat=8, num_mlp=1, narrow=1 / 128).state_dict()
    with pytest.raises(FRExError, match=r'the weights do not fit StyleGAN2: 1 unexpected \(dataset_label_std\.\* 1\)$'):
        load_network(write_pth(tmp_path / 'file', with_label_deviation(state)))


@pytest.mark.parametrize('form', EG3D_FORMS)
def test_a_file_of_the_official_loop_is_checked_and_converted(tmp_path, capsys, form):
    state = mini_eg3d().state_dict()
    path, target = EG3D_FORMS[form](tmp_path / 'file', with_label_deviation(state)), tmp_path / 'net.safetensors'
    millions = sum(value.numel() for value in state.values()) / 1e6
    assert main(['weights', 'check', str(path)]) == 0
    assert main(['weights', 'convert', str(path), str(target)]) == 0
    assert capsys.readouterr() == (
        f'{path}: EG3D with {len(state)} tensors, {millions:.1f} M weights; its sum is not in the manifest\n{target}: EG3D of {path}\n',
        '',
    )
    assert_same(load_network(target).state_dict(), state)


@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
def test_g_and_g_ema_of_a_pickle_are_told_apart(tmp_path, protocol):
    state = mini_eg3d().state_dict()
    other = eg3d_network(with_label_deviation({name: value + 1 for name, value in state.items()}), INIT, RENDERING, 64)
    network = eg3d_network(with_label_deviation(state), INIT, RENDERING, 64)
    path = write_pickle(tmp_path / 'file.pkl', network, protocol, G=other, D=None, augment_pipe=augment_pipe())
    assert_same(read_network(path).state, state)
    read = read_nvidia_pickle(path, 'G').state
    assert list(read) == ['dataset_label_std', *state]
    assert torch.equal(read['decoder.net.0.bias'], state['decoder.net.0.bias'] + 1)
    assert read_nvidia_pickle(path, 'augment_pipe').state.keys() == {'p', 'Hz_geom', 'Hz_fbank'}


def camera_files(tmp_path, **rendering):
    """The same network with and without what its file says of `c_scale`."""
    said = {name: value for name, value in (RENDERING | rendering).items() if value is not None}
    net = mini_eg3d().requires_grad_(False)
    path = write_pickle(tmp_path / 'file.pkl', eg3d_network(net.state_dict(), INIT, said, 64))
    return net, load_network(path).requires_grad_(False)


@pytest.mark.parametrize('rendering', [{'c_scale': None}, {'c_scale': 0}, {'c_scale': 0.0}, {'c_gen_conditioning_zero': True}], ids=str)
def test_where_the_file_says_so_the_mapping_ignores_the_camera(tmp_path, rendering):
    net, loaded = camera_files(tmp_path, **rendering)
    z, cameras = torch.randn(3, MINI_EG3D['z_dim']), torch.randn(3, 25)
    # The official code multiplies the camera by 0.
    expected = net.mapping(z, torch.zeros(3, 25))
    assert torch.equal(loaded.mapping(z, cameras), expected)
    assert not torch.equal(net.mapping(z, cameras), expected)
    # Nothing else of the network depends on it.
    own, changed = net.state_dict(), loaded.state_dict()
    assert [name for name in own if not torch.equal(own[name], changed[name])] == ['backbone.mapping.embed.weight']


@pytest.mark.parametrize('scale', [1, 1.0])
def test_with_a_scale_of_1_the_mapping_takes_the_camera(tmp_path, scale):
    net, loaded = camera_files(tmp_path, c_scale=scale)
    z, cameras = torch.randn(3, MINI_EG3D['z_dim']), torch.randn(3, 25)
    assert torch.equal(loaded.mapping(z, cameras), net.mapping(z, cameras))


@pytest.mark.parametrize('scale', [0.5, -1, 2, 'x', [1], True + 1])
def test_another_scale_is_refused(tmp_path, scale):
    with pytest.raises(FRExError, match=r'file\.pkl: not a network that FREx knows \(its c_scale is .*, FREx has only 1, and 0 for '):
        camera_files(tmp_path, c_scale=scale)


def test_a_converted_file_still_ignores_the_camera(tmp_path, capsys):
    network = eg3d_network(mini_eg3d().state_dict(), INIT, {key: value for key, value in RENDERING.items() if key != 'c_scale'}, 64)
    path, target = write_pickle(tmp_path / 'file.pkl', network), tmp_path / 'net.safetensors'
    assert main(['weights', 'convert', str(path), str(target)]) == 0
    assert main(['weights', 'check', str(path), str(target)]) == 0
    assert capsys.readouterr().out.count('; its mapping ignores the camera\n') == 2
    net = load_network(target).requires_grad_(False)
    z = torch.randn(1, MINI_EG3D['z_dim'])
    assert torch.equal(net.mapping(z, torch.randn(1, 25)), net.mapping(z, torch.randn(1, 25)))


# --- StyleGAN2


SMALL = {'out_size': 8, 'num_style_feat': 8, 'num_mlp': 1, 'narrow': 1 / 128}


@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
@pytest.mark.parametrize('pipe', [None, augment_pipe])
def test_stylegan2_ada_is_read_beside_its_augmentation(tmp_path, protocol, pipe):
    state = StyleGAN2(**SMALL).state_dict()
    others = {'augment_pipe': pipe() if pipe else None, 'training_set_kwargs': None}
    path = write_pickle(tmp_path / 'file.pkl', stylegan2_network(nvidia_state(state)), protocol, **others)
    torch.testing.assert_close(dict(load_network(path).state_dict()), dict(state), rtol=1e-6, atol=0)


@pytest.mark.parametrize('legacy', [False, True])
def test_a_checkpoint_of_rosinalitys_training_is_read_as_data(tmp_path, legacy):
    state = StyleGAN2(**SMALL).state_dict()
    path = write_pth(tmp_path / 'file.pt', rosinality_checkpoint(rosinality_state(state)), legacy)
    # torch itself refuses it.
    with pytest.raises(Exception, match=r'argparse\.Namespace'):
        torch.load(path, weights_only=True)
    assert_same(load_network(path).state_dict(), state)
    content = read_torch_file(path)
    assert content['args'] == ScriptOptions(
        {'path': 'ffhq.lmdb', 'size': 64, 'r1': 10.0, 'mixing': 0.9, 'ckpt': None, 'distributed': False, 'latent': 32, 'n_mlp': 2}
    )
    assert (content['ada_aug_p'], content['g_optim']['param_groups'][0]['betas']) == (0.25, (0.0, 0.99))
    assert content['d_optim']['state'][0]['exp_avg'].shape == (2,)


@pytest.mark.parametrize('form', [dict, lambda state: OrderedDict((f'module.{name}', value) for name, value in state.items())])
def test_a_checkpoint_of_rosinalitys_training_is_checked_and_converted(tmp_path, capsys, form):
    state = StyleGAN2(**SMALL).state_dict()
    path, target = tmp_path / 'file.pt', tmp_path / 'net.safetensors'
    write_pth(path, rosinality_checkpoint(form(rosinality_state(state))))
    assert main(['weights', 'check', str(path)]) == 0
    assert main(['weights', 'convert', str(path), str(target)]) == 0
    out, err = capsys.readouterr()
    assert (out.splitlines()[1], err) == (f'{target}: StyleGAN2 of {path}', '')
    assert out.startswith(f'{path}: StyleGAN2 with {len(state)} tensors, ')
    assert_same(load_network(target).state_dict(), state)


def test_options_never_take_the_place_of_weights(tmp_path):
    state = StyleGAN2(**SMALL).state_dict()
    options = argparse.Namespace(a=torch.zeros(1))
    for content in (options, {'g_ema': options}, {'params_ema': options}):
        with pytest.raises(FRExError, match=r'file\.pt: .*ScriptOptions'):
            read_network(write_pth(tmp_path / 'file.pt', content))
    with pytest.raises(FRExError, match=r"'args' is no weight but a ScriptOptions"):
        read_network(write_pth(tmp_path / 'file.pt', dict(state) | {'args': options}))


@pytest.mark.parametrize(
    'value', [argparse.Namespace(), argparse.Namespace(a=argparse.Namespace(b=[1, (2, None)], c='x')), [argparse.Namespace(a=1)] * 2]
)
@pytest.mark.parametrize('legacy', [False, True])
def test_options_of_options_are_read(tmp_path, value, legacy):
    def inert(value):
        if isinstance(value, argparse.Namespace):
            return ScriptOptions({name: inert(item) for name, item in vars(value).items()})
        return [inert(item) for item in value] if isinstance(value, list) else value

    assert read_torch_file(write_pth(tmp_path / 'file.pt', {'args': value}, legacy)) == {'args': inert(value)}


# --- torchvision


def torchvision_checkpoint(net):
    """What torchvision's training script saves: the network, and all that a resumed training needs."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5])
    return {
        'model': net.state_dict(),
        'optimizer': optimizer.state_dict(),
        'lr_scheduler': schedule.state_dict(),
        'epoch': 3,
        'args': argparse.Namespace(model='swin_v2_b', lr_warmup_epochs=20, clip_grad_norm=5.0, output_dir='.'),
        'model_ema': OrderedDict(
            [('n_averaged', torch.tensor(5)), *((f'module.{name}', value + 1) for name, value in net.state_dict().items())]
        ),
        'scaler': None,
    }


@pytest.mark.parametrize('legacy', [False, True])
@pytest.mark.parametrize('form', [torchvision_checkpoint, lambda net: net.state_dict()])
def test_the_backbone_of_torchvisions_training_is_loaded(tmp_path, legacy, form):
    net, other = tiny_frex(seed=1), tiny_frex(seed=2)
    swin, expected = net.encoder_3d.backbone.swin, other.encoder_3d.backbone.swin.state_dict()
    path = write_pth(tmp_path / 'swin.pth', form(other.encoder_3d.backbone.swin), legacy)
    assert any(not torch.equal(value, expected[name]) for name, value in swin.state_dict().items())
    check_prior(net, 'backbone', path)
    load_prior(net, 'backbone', path, {})
    assert_same(swin.state_dict(), expected)


def test_vgg_of_torchvisions_training_is_loaded(tmp_path):
    net = _vgg_features(None)
    state = {f'features.{name}': value + 1 for name, value in net.state_dict().items()} | {'classifier.0.bias': torch.zeros(4096)}
    path = write_pth(tmp_path / 'vgg19.pth', {'model': state, 'epoch': 1, 'args': argparse.Namespace(model='vgg19')})
    assert torch.equal(FrozenVGG(['conv1_2'], str(path)).features[0].weight, net[0].weight + 1)


# --- What torch.save writes of tensors


def test_tensors_are_read_as_torch_reads_them(tmp_path):
    base = torch.arange(24.0)
    content = {
        'transposed': base.reshape(4, 6).T,
        'a part': base[5:11],
        'a number': base[3],
        'nothing': base[:0],
        'channels last': torch.rand(2, 3, 2, 2).contiguous(memory_format=torch.channels_last),
        'a parameter': torch.nn.Parameter(torch.ones(2)),
        **{str(dtype): torch.tensor([0, 1, 2]).to(dtype) for dtype in (torch.float64, torch.float16, torch.bfloat16, torch.int64)},
        **{str(dtype): torch.tensor([0, 1, 2]).to(dtype) for dtype in (torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)},
    }
    for legacy in (False, True):
        path = write_pth(tmp_path / 'file.pth', content, legacy)
        expected, read = torch.load(path, weights_only=True), read_torch_file(path)
        for name, value in expected.items():
            assert (read[name].dtype, read[name].shape, read[name].stride()) == (value.dtype, value.shape, value.stride()), name
            assert torch.equal(read[name], value.detach()), name
        # Views of one storage share its memory.
        read['a part'].fill_(9)
        assert read['transposed'].max() == 23
        assert (read['transposed'] == 9).sum() == 6


def test_metadata_of_a_state_dict_is_kept(tmp_path):
    state = torch.nn.BatchNorm1d(2).state_dict()
    read = read_torch_file(write_pth(tmp_path / 'file.pth', state))
    assert (type(read), read._metadata) == (OrderedDict, state._metadata)

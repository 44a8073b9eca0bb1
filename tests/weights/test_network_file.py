"""Networks in the formats of EG3D, StyleGAN2-ADA, rosinality and BasicSR: read, built, and compared with the official numbers."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from golden import SAMPLE_COUNT, SAMPLE_STEP, Golden, fill
from official_files import (
    INIT,
    MINI_EG3D,
    PTH_FORMS,
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
    write_mini_eg3d,
    write_old_pth,
    write_pickle,
    write_pth,
    write_safetensors,
)
from tiny import tiny_frex, tiny_network_options

from frex.errors import FRExError
from frex.weights.network_file import NetworkFile, build_network, load_network, read_network, read_state
from frex_arch import EG3D, ArcFace, StyleGAN2

STYLEGAN2_TINY = {'out_size': 64, 'num_style_feat': 32, 'num_mlp': 2, 'channel_multiplier': 1, 'narrow': 0.0625}
# What the file says of rendering, and what the official FFHQ 512-128 has.
RENDERS_TINY = {
    'render_size': 32,
    'depth_samples': 12,
    'importance_samples': 12,
    'depth_range': [2.25, 3.3],
    'disparity': False,
    'box_warp': 1,
}
EG3D_TINY = {
    'out_size': 512,
    'z_dim': 32,
    'w_dim': 512,
    'plane_size': 256,
    'plane_channels': 32,
    'channel_base': 1024,
    'channel_max': 32,
    'feature_channels': 32,
    'superresolution_channels': [256, 128],
}


def built(path):
    return load_network(path).requires_grad_(False)


# --- StyleGAN2


@pytest.fixture(scope='module')
def stylegan2_golden():
    return Golden('stylegan2_tiny')


STYLEGAN2_FILES = {
    **{
        f'BasicSR, {form}, {"legacy" if legacy else "zip"}': lambda path, state, wrap=wrap, legacy=legacy: write_pth(
            path, wrap(state), legacy
        )
        for form, wrap in PTH_FORMS.items()
        for legacy in (False, True)
    },
    'BasicSR, safetensors': write_safetensors,
    'rosinality': lambda path, state: write_pth(path, {'g_ema': rosinality_state(state), 'latent_avg': torch.zeros(32)}),
    'rosinality, legacy': lambda path, state: write_pth(
        path, {'g_ema': rosinality_state(state), 'latent_avg': torch.zeros(32)}, legacy=True
    ),
    'rosinality, bare': lambda path, state: write_pth(path, rosinality_state(state)),
    **{
        f'rosinality, training, {"legacy" if legacy else "zip"}': lambda path, state, legacy=legacy: write_pth(
            path, rosinality_checkpoint(rosinality_state(state)), legacy
        )
        for legacy in (False, True)
    },
    'rosinality, old torch': lambda path, state: write_old_pth(path, {'g_ema': OrderedDict(rosinality_state(state))}),
    'BasicSR, old torch': lambda path, state: write_old_pth(path, {'params_ema': OrderedDict(state)}),
    **{
        f'NVIDIA, protocol {protocol}': lambda path, state, protocol=protocol: write_pickle(
            path, stylegan2_network(nvidia_state(state)), protocol, augment_pipe=augment_pipe()
        )
        for protocol in (2, 3, 4, 5)
    },
    'NVIDIA, bare': lambda path, state: write_pth(path, nvidia_state(state)),
    'NVIDIA, G_ema': lambda path, state: write_pth(path, {'G_ema': nvidia_state(state)}),
    'NVIDIA, safetensors': lambda path, state: write_safetensors(path, {k: v.contiguous() for k, v in nvidia_state(state).items()}),
}


@pytest.mark.parametrize('form', STYLEGAN2_FILES)
@torch.no_grad()
def test_stylegan2_of_every_format_gives_the_official_numbers(tmp_path, stylegan2_golden, form):
    golden = stylegan2_golden
    path = STYLEGAN2_FILES[form](tmp_path / 'file', fill(golden.keys))
    file = read_network(path)
    assert (file.kind, file.arguments) == ('StyleGAN2', STYLEGAN2_TINY)
    net = build_network(file, str(path))
    ws = net.mapping(golden['z'])
    assert golden.difference('from_z_latent', ws) <= 2e-5
    assert golden.difference('from_z_image', net(ws)) <= 2e-5
    assert golden.difference('from_wplus_image', net(golden['w_plus'])) <= 2e-5


@pytest.mark.parametrize('form', ['rosinality', 'NVIDIA, protocol 4', 'NVIDIA, bare'])
def test_the_values_of_other_layouts_become_basicsrs(tmp_path, stylegan2_golden, form):
    # The image does not tell: demodulation takes any common factor out of a convolution's weights.
    state = fill(stylegan2_golden.keys)
    torch.testing.assert_close(read_network(STYLEGAN2_FILES[form](tmp_path / 'file', state)).state, state, rtol=1e-6, atol=0)


@pytest.mark.parametrize('legacy', [False, True])
@pytest.mark.parametrize(('key', 'added'), [('params', 1), ('params_ema', 0)])
def test_the_asked_weights_are_read(tmp_path, stylegan2_golden, legacy, key, added):
    state = fill(stylegan2_golden.keys)
    path = write_pth(tmp_path / 'file.pth', PTH_FORMS['params and params_ema'](state), legacy)
    assert_same(read_network(path, key).state, {name: value + added for name, value in state.items()})
    assert_same(read_state(path, key), {name: value + added for name, value in state.items()})


@pytest.mark.parametrize(('there', 'requested'), [('params', 'params_ema'), ('params_ema', 'params')])
@pytest.mark.parametrize('others', [{}, {'network_g': {'type': 'StyleGAN2'}}])
def test_other_weights_never_take_the_place_of_the_requested_ones(tmp_path, there, requested, others):
    path = write_pth(tmp_path / 'file.pth', {there: {'a': torch.zeros(1)}} | others)
    with pytest.raises(FRExError, match=rf'file\.pth: has no {requested}; it holds .*{there}$'):
        read_network(path, requested)


@pytest.mark.parametrize(
    ('size', 'narrow', 'multiplier'), [(8, 0.5, 1), (32, 1 / 64, 1), (64, 1 / 64, 2), (128, 1 / 32, 1), (256, 1 / 16, 0.5)]
)
@pytest.mark.parametrize('layout', [dict, rosinality_state, nvidia_state])
def test_sizes_and_widths_follow_from_the_weights(tmp_path, layout, size, narrow, multiplier):
    arguments = {'out_size': size, 'num_style_feat': 12, 'num_mlp': 3, 'channel_multiplier': multiplier, 'narrow': narrow}
    state = StyleGAN2(**arguments).state_dict()
    path = write_pth(tmp_path / 'file.pth', layout(state))
    assert read_network(path).arguments == arguments
    assert load_network(path).state_dict().keys() == state.keys()


# --- StyleGAN2 of NVIDIA, by numbers of NVIDIA's own code


@pytest.fixture(scope='module')
def eg3d_golden():
    return Golden('eg3d_tiny')


@pytest.fixture(scope='module')
def nvidia_outputs(tmp_path_factory, eg3d_golden):
    """EG3D's backbone is a generator of StyleGAN2-ADA with 96 colours; the same with three of them, as a file, read and run."""
    official = {name.removeprefix('backbone.'): value for name, value in fill(eg3d_golden.keys).items() if name.startswith('backbone.')}
    state = {name: value[:3] if '.torgb.' in name and 'affine' not in name else value for name, value in official.items()}
    state = {name: value for name, value in state.items() if not name.startswith('mapping.embed')}
    state['mapping.fc0.weight'] = state['mapping.fc0.weight'][:, :512]
    path = write_pickle(tmp_path_factory.mktemp('nvidia') / 'network.pkl', stylegan2_network(state, z_dim=512, w_dim=512))
    file = read_network(path)
    assert file.arguments == {'out_size': 256, 'num_style_feat': 512, 'num_mlp': 2, 'channel_multiplier': 1, 'narrow': 1 / 16}
    net = build_network(file, str(path)).requires_grad_(False)
    ws = eg3d_golden['w_plus']
    codes = ws.unbind(1)
    outputs = {4: net.start(codes)}
    for size in net.sizes:
        feature, image = outputs[size // 2]
        outputs[size] = net.refine(size, net.upsample(size, feature, codes), image, codes)
    return outputs


SIZES = [4, 8, 16, 32, 64, 128, 256]


@pytest.mark.parametrize('size', SIZES)
def test_features_equal_those_of_nvidias_own_code(eg3d_golden, nvidia_outputs, size):
    assert eg3d_golden.difference(f'wplus_b{size}_x', nvidia_outputs[size][0]) <= 5e-5


@pytest.mark.parametrize('size', SIZES)
def test_colours_equal_those_of_nvidias_own_code(eg3d_golden, nvidia_outputs, size):
    image, record = nvidia_outputs[size][1].numpy(), f'wplus_b{size}_img'
    numel = 96 * size**2
    # Small images are recorded whole, others by samples.
    sampled = f'{record}@sample' in eg3d_golden.arrays
    places = np.arange(SAMPLE_COUNT) * SAMPLE_STEP % numel if sampled else np.arange(numel)
    recorded = eg3d_golden.arrays[f'{record}@sample' if sampled else record].reshape(-1)
    # Colours come first: these are the first positions of all.
    known = places < image.size
    assert known.sum() >= min(100, image.size)
    assert np.abs(image.reshape(-1)[places[known]] - recorded[known]).max() <= 5e-5


# --- EG3D


@pytest.fixture(scope='module')
def eg3d_state(eg3d_golden):
    return fill(eg3d_golden.keys)


EG3D_FILES = {
    'pkl': lambda path, state: write_pickle(path, eg3d_network(state, INIT, RENDERING, 32)),
    **{
        f'pkl, training, protocol {protocol}': lambda path, state, protocol=protocol: write_pickle(
            path, eg3d_network(with_label_deviation(state), INIT, RENDERING, 32), protocol, augment_pipe=augment_pipe()
        )
        for protocol in (2, 3, 4, 5)
    },
    'pth, bare': write_pth,
    'pth, G_ema': lambda path, state: write_pth(path, {'G_ema': state}),
    'safetensors': write_safetensors,
    'pth, training, bare': lambda path, state: write_pth(path, with_label_deviation(state)),
    'pth, training, module.': lambda path, state: write_pth(path, PTH_FORMS['module.'](with_label_deviation(state))),
    'pth, training, G_ema': lambda path, state: write_pth(path, {'G_ema': with_label_deviation(state)}, legacy=True),
    'pth, training, G': lambda path, state: write_pth(path, {'G': with_label_deviation(state)}),
    'pth, training, G and G_ema': lambda path, state: write_pth(
        path, {'G': {name: value + 1 for name, value in state.items()}, 'D': {}, 'G_ema': with_label_deviation(state)}
    ),
    'safetensors, training': lambda path, state: write_safetensors(path, with_label_deviation(state)),
}


@pytest.fixture(scope='module', params=EG3D_FILES)
def eg3d_file(request, tmp_path_factory, eg3d_state):
    return request.param, EG3D_FILES[request.param](tmp_path_factory.mktemp('eg3d') / 'network', eg3d_state)


def test_the_arguments_of_eg3d_are_those_of_the_file(eg3d_file):
    form, path = eg3d_file
    file = read_network(path)
    rendering = RENDERS_TINY if form.startswith('pkl') else {}
    assert (file.kind, file.arguments) == ('EG3D', EG3D_TINY | rendering)


def test_every_tensor_of_eg3d_is_read_bit_by_bit(eg3d_file, eg3d_state):
    state = read_network(eg3d_file[1]).state
    assert_same(state, eg3d_state)
    assert all(value.is_contiguous() for value in state.values())


def test_eg3d_of_a_file_gives_the_official_numbers(tmp_path, eg3d_state, eg3d_golden):
    """Of one format: the tests above hold that all of them give the same arguments and the same tensors."""
    path = EG3D_FILES['pkl'](tmp_path / 'network', eg3d_state)
    kind, arguments, state = read_network(path)
    net = build_network(NetworkFile(kind, arguments | RENDERS_TINY, state), str(path)).requires_grad_(False)
    ws = net.mapping(eg3d_golden['z'], eg3d_golden['c'])
    assert eg3d_golden.difference('ws', ws) <= 1e-5
    planes = net.planes(ws)
    assert eg3d_golden.difference('planes', planes.flatten(1, 2)) <= 1e-4
    rendered = net.render(planes[:1], eg3d_golden['c'][:1])
    assert eg3d_golden.difference('cam0_feature_image', rendered.feature_image) <= 2e-3
    assert eg3d_golden.mean_difference('cam0_feature_image', rendered.feature_image) <= 1e-4


def test_without_the_constructors_arguments_eg3d_renders_as_the_official_ffhq_does(tmp_path):
    path = write_pth(tmp_path / 'file.pth', mini_eg3d().state_dict())
    net, official = built(path), EG3D()
    for name in ('render_size', 'depth_samples', 'importance_samples', 'depth_range', 'disparity', 'box_warp', 'white_background'):
        assert getattr(net, name) == getattr(official, name)


@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
def test_a_pickles_tensors_come_in_the_order_of_torch(tmp_path, protocol):
    state = mini_eg3d().state_dict()
    path = write_pickle(tmp_path / 'file.pkl', eg3d_network(state, INIT, RENDERING, 64), protocol)
    assert list(read_network(path).state) == list(state)


def test_what_eg3d_renders_with_is_read_from_the_file(tmp_path):
    settings = {'ray_start': 'auto', 'ray_end': 'auto', 'disparity_space_sampling': True, 'box_warp': 1.6, 'white_back': True}
    file = read_network(write_mini_eg3d(tmp_path / 'file.pkl', rendering=settings | {'depth_resolution': 96}))
    expected = {
        'render_size': 64,
        'depth_samples': 96,
        'importance_samples': 12,
        'depth_range': None,
        'disparity': True,
        'box_warp': 1.6,
        'white_background': True,
    }
    assert file.arguments == MINI_EG3D | expected
    net = build_network(file, 'file.pkl')
    assert {name: getattr(net, name) for name in expected} == expected


@pytest.mark.parametrize(
    ('where', 'name', 'value'),
    [
        ('init', 'c_dim', 0),
        ('init', 'img_channels', 4),
        ('init', 'conv_clamp', 256),
        ('rendering', 'clamp_mode', 'relu'),
        ('rendering', 'c_scale', 2),
        ('rendering', 'decoder_lr_mul', 0.5),
        ('rendering', 'sr_antialias', False),
        ('rendering', 'superresolution_noise_mode', 'random'),
        ('rendering', 'superresolution_module', 'training.superresolution.SuperresolutionHybrid4X'),
    ],
)
def test_settings_that_frex_lacks_are_named(tmp_path, where, name, value):
    path = write_mini_eg3d(tmp_path / 'file.pkl', **{where: {name: value}})
    with pytest.raises(FRExError, match=rf'file\.pkl: not a network that FREx knows \(its {name} is {value!r}, FREx has only'):
        read_network(path)


def test_a_mapping_of_more_layers_is_told_by_its_weights(tmp_path):
    state = mini_eg3d().state_dict() | {'backbone.mapping.fc2.weight': torch.zeros(6, 6), 'backbone.mapping.fc2.bias': torch.zeros(6)}
    with pytest.raises(FRExError, match=r'file\.pkl: the weights do not fit EG3D: 2 unexpected \(backbone\.mapping\.\* 2\)'):
        load_network(write_mini_eg3d(tmp_path / 'file.pkl', state=state))


@pytest.mark.parametrize('name', ['mapping.embed.weight', 'synthesis.b8.skip.weight', 'synthesis.b8.conv2.weight', 'synthesis.b8.conv1.up'])
def test_parts_of_stylegan2_that_frex_lacks_are_named(tmp_path, name):
    state = nvidia_state(StyleGAN2(out_size=8, num_style_feat=8, num_mlp=1, narrow=1 / 128).state_dict())
    path = write_pickle(tmp_path / 'file.pkl', stylegan2_network(state | {name: torch.zeros(2, 2)}))
    with pytest.raises(FRExError, match=rf'file\.pkl: not a network that FREx knows \(.*{name.rpartition(".")[2]}'):
        read_network(path)


def test_another_network_of_nvidias_is_named(tmp_path):
    network = stylegan2_network({'b4.fc.weight': torch.zeros(1, 1)})
    network.__class__ = type('StyleGAN3', (type(network),), {})
    with pytest.raises(FRExError, match=r'file\.pkl: not a network that FREx knows \(its G_ema is a .?StyleGAN3'):
        read_network(write_pickle(tmp_path / 'file.pkl', network))


# --- ArcFace


def test_arcface_of_data_parallel_training_gives_the_official_numbers(tmp_path):
    golden = Golden('arcface')
    path = write_pth(tmp_path / 'arcface.pth', PTH_FORMS['module.'](fill(golden.keys, equalized=False)))
    assert read_network(path).arguments == {'layers': [2, 2, 2, 2]}
    net = built(path)
    assert not net.training
    assert golden.difference('embedding', net(golden['gray'])) <= 2e-5


def test_the_number_of_blocks_follows_from_the_weights(tmp_path):
    state = {
        name: value.flatten()[:1].clone() for name, value in ArcFace(layers=[1, 3, 11, 2]).state_dict().items() if name.startswith('layer')
    }
    assert read_network(write_pth(tmp_path / 'arcface.pth', state)).arguments == {'layers': [1, 3, 11, 2]}


# --- What does not fit


@pytest.mark.parametrize('layout', [dict, lambda state: {'params_ema': state}])
def test_what_does_not_fit_is_told_by_prefix_with_the_files_name(tmp_path, layout):
    state = StyleGAN2(out_size=16, num_style_feat=8, num_mlp=1, narrow=1 / 128).state_dict()
    for name in ('to_rgbs.0.bias', 'style_convs.0.activate.bias', 'style_convs.0.weight'):
        del state[name]
    state |= {'other.a.weight': torch.zeros(1), 'other.a.bias': torch.zeros(1), 'style_mlp.1.weight': torch.zeros(2, 3)}
    message = (
        r'file\.pth: the weights do not fit StyleGAN2: 3 missing \(style_convs\.0\.\* 2, to_rgbs\.0\.\* 1\); '
        r'2 unexpected \(other\.a\.\* 2\); 1 of another shape \(style_mlp\.1\.\* 1\)$'
    )
    with pytest.raises(FRExError, match=message):
        load_network(write_pth(tmp_path / 'file.pth', layout(state)))


def test_the_weights_of_a_checkpoint_must_be_those_of_its_network(tmp_path):
    network = {'type': 'FREx', **tiny_network_options()}
    path = write_pth(tmp_path / 'file.pth', {'network_g': network, 'params_ema': tiny_frex(output='conv').state_dict()})
    with pytest.raises(
        FRExError, match=r'file\.pth: the weights do not fit FREx: 2 unexpected \(to_image\.bias\.\* 1, to_image\.weight\.\* 1\)$'
    ):
        load_network(path)

"""Growing a FREx to twice its size."""

import pytest
import torch

from frex.cli.main import main
from frex.errors import FRExError
from frex.weights.grow import grow
from frex.weights.network_file import NetworkFile, build_frex, load_network, save_safetensors
from frex_arch import FREx
from frex_arch.resampling import LowPass, Upsample

ARGUMENTS = {
    'out_size': 32,
    'encoder_narrow': 1,
    'stylegan2': {'num_style_feat': 16, 'num_mlp': 1, 'channels': [16, 16, 12, 8]},
    'eg3d': {
        'z_dim': 8,
        'w_dim': 16,
        'plane_size': 16,
        'plane_channels': 4,
        'channel_base': 128,
        'channel_max': 16,
        'render_size': 8,
        'depth_samples': 4,
        'importance_samples': 4,
        'feature_channels': 4,
        'superresolution_channels': [4, 4],
    },
    'encoder_3d': {'backbone': 'swin_v2_nano', 'in_size': 32},
    'global_attention_size': 16,
    'attention_size': 16,
}


@pytest.fixture(scope='module')
def small():
    """A FREx all of whose weights are random, those that start at 0 among them."""
    torch.manual_seed(1)
    net = FREx(**ARGUMENTS)
    for name, parameter in net.named_parameters():
        if not parameter.any() and 'noise' not in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return net.eval()


@pytest.fixture(scope='module')
def grown(small):
    return grow(NetworkFile('FREx', ARGUMENTS, small.state_dict()), 8, 'small')


@pytest.fixture(scope='module')
def large(grown):
    return build_frex(grown, 'grown')


def face(size):
    generator = torch.Generator().manual_seed(3)
    return torch.randn(2, 3, size, size, generator=generator).clamp(-1, 1)


def test_the_encoder_sees_what_the_smaller_one_saw(small, large):
    lq = face(64)
    halved = LowPass(3, padding=2)(lq)[:, :, 1::2, 1::2]
    with torch.no_grad():
        z_2d, skips, ws = large.encoder_2d(lq)
        expected_z_2d, expected_skips, expected_ws = small.encoder_2d(halved)
    torch.testing.assert_close(z_2d, expected_z_2d, rtol=1e-4, atol=1e-5)
    for size, expected in expected_skips.items():
        torch.testing.assert_close(skips[size], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ws[:, :-2], expected_ws, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ws[:, -2:], expected_ws[:, -1:].expand(-1, 2, -1), rtol=1e-4, atol=1e-5)


def test_the_image_starts_as_the_smaller_one_enlarged(small, large):
    codes = torch.randn(2, 8, 16, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        expected = Upsample(3)(small.stylegan2(codes))
        image = large.stylegan2(torch.cat([codes, codes[:, -1:].expand(-1, 2, -1)], dim=1))
    torch.testing.assert_close(image, expected)


def test_the_whole_network_starts_as_the_smaller_one(small, large):
    # Smooth, so that both crops for the 3D branch show the same.
    smooth = torch.nn.functional.interpolate(face(4), size=64, mode='bicubic')
    halved = LowPass(3, padding=2)(smooth)[:, :, 1::2, 1::2]
    with torch.no_grad():
        image, expected = large(smooth).image, small(halved).image
    difference = (image - Upsample(3)(expected)).abs().mean()
    assert difference < 0.02 * expected.std()


def test_the_new_level_can_learn(large):
    large.train()
    try:
        output = large(face(64))
        (output.image.square().mean() + output.images_3d[-1].square().mean()).backward()
        for name in ('stylegan2.to_rgbs.3.modulated_conv.weight', 'encoder_2d.from_rgb.0.weight', 'encoder_2d.down.32.skip.1.weight'):
            parameter = large.get_parameter(name)
            assert not parameter.requires_grad or parameter.grad.abs().max() > 0, name
    finally:
        large.zero_grad()
        large.eval()


def test_arguments_are_those_of_twice_the_size(grown):
    assert grown.arguments['out_size'] == 64
    assert grown.arguments['stylegan2']['channels'] == [16, 16, 12, 8, 8]
    assert ARGUMENTS['stylegan2']['channels'] == [16, 16, 12, 8]


@pytest.mark.parametrize(
    ('changes', 'channels', 'message'),
    [
        ({}, None, 'small: --channels N is needed'),
        ({}, 4, 'small: 4 channels at 64 x 64 are too few; at least 6'),
        ({'output': 'conv'}, 8, 'small: output: conv makes the image of its finest level alone'),
        ({'stylegan2': {'num_style_feat': 16, 'num_mlp': 1, 'narrow': 1 / 32}}, 8, 'small: its widths follow from narrow'),
    ],
)
def test_what_cannot_be_grown_is_said(changes, channels, message):
    arguments = ARGUMENTS | changes
    with pytest.raises(FRExError, match=message):
        grow(NetworkFile('FREx', arguments, FREx(**arguments).state_dict()), channels, 'small')


def test_widths_of_narrow_grow_by_themselves():
    arguments = ARGUMENTS | {'stylegan2': {'num_style_feat': 16, 'num_mlp': 1, 'narrow': 1 / 32}}
    file = grow(NetworkFile('FREx', arguments, FREx(**arguments).state_dict()), None, 'small')
    assert build_frex(file, 'grown').out_size == 64


def test_the_command_writes_a_file_that_can_be_grown_again(small, tmp_path, capsys):
    save_safetensors(tmp_path / 'small.safetensors', NetworkFile('FREx', ARGUMENTS, small.state_dict()))
    target = tmp_path / 'grown.safetensors'
    assert main(['weights', 'grow', str(tmp_path / 'small.safetensors'), str(target), '--channels', '8']) == 0
    assert f'{target}: FREx at 64 x 64, grown from ' in capsys.readouterr().out
    assert load_network(target).out_size == 64
    assert main(['weights', 'grow', str(target), str(target), '--channels', '8']) == 1
    assert 'exists already; --overwrite replaces it' in capsys.readouterr().err
    assert main(['weights', 'grow', str(target), str(tmp_path / 'larger.safetensors'), '--channels', '6']) == 0
    assert load_network(tmp_path / 'larger.safetensors').out_size == 128

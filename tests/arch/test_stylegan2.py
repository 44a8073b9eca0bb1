"""The 2D prior against BasicSR's StyleGAN2Generator."""

import pytest
import torch
from golden import Golden, load_official

from frex_arch.ops import resolutions, stylegan2_channels
from frex_arch.stylegan2 import StyleGAN2

OPTIONS = {
    'stylegan2_tiny': {'out_size': 64, 'num_style_feat': 32, 'num_mlp': 2, 'narrow': 0.0625},
    'stylegan2_512': {},
}
LEVELS = {'stylegan2_tiny': 4, 'stylegan2_512': 7}
LIMITS = {'stylegan2_tiny': 2e-5, 'stylegan2_512': 1e-4}
INPUTS = {'seed', 'z', 'w_plus', 'mean_latent'}


def layers(levels: int) -> list[str]:
    """The layers whose outputs are recorded."""
    return ['style_conv1', *(f'style_convs.{i}' for i in range(2 * levels)), *(f'to_rgbs.{i}' for i in range(levels))]


RECORDS = [
    ('stylegan2_tiny', 'from_z_truncated_image'),
    *((name, record) for name in OPTIONS for record in ('from_z_latent', 'from_z_image', 'from_wplus_image')),
    *((name, f'wplus:{layer}') for name in OPTIONS for layer in layers(LEVELS[name])),
]


@torch.no_grad()
def differences_of(name: str) -> dict[str, float]:
    """Largest difference to each record of one file."""
    golden, net = Golden(name), StyleGAN2(**OPTIONS[name])
    load_official(net, golden.keys)

    ws = net.mapping(golden['z'])
    found = {'from_z_latent': golden.difference('from_z_latent', ws), 'from_z_image': golden.difference('from_z_image', net(ws))}
    if 'mean_latent' in golden.arrays:
        truncated = net(net.mapping(golden['z'], 0.7, golden['mean_latent']))
        found['from_z_truncated_image'] = golden.difference('from_z_truncated_image', truncated)

    def compare(layer, output):
        found[f'wplus:{layer}'] = golden.difference(f'wplus:{layer}', output)

    for layer in layers(LEVELS[name]):
        net.get_submodule(layer).register_forward_hook(lambda _module, _inputs, output, layer=layer: compare(layer, output))
    found['from_wplus_image'] = golden.difference('from_wplus_image', net(golden['w_plus']))
    return found


@pytest.fixture(scope='module')
def differences():
    return {name: differences_of(name) for name in OPTIONS}


@pytest.mark.parametrize('name', OPTIONS)
def test_no_official_output_is_forgotten(name):
    assert {record for file, record in RECORDS if file == name} == {key.partition('@')[0] for key in Golden(name).arrays} - INPUTS


@pytest.mark.parametrize(('name', 'record'), RECORDS)
def test_equals_the_official_generator(differences, name, record):
    assert differences[name][record] <= LIMITS[name]


@pytest.fixture
def small():
    """A tiny generator with random weights, noise strengths among them."""
    torch.manual_seed(0)
    net = StyleGAN2(out_size=16, num_style_feat=8, num_mlp=1, narrow=1 / 64)
    for layer in (net.style_conv1, *net.style_convs):
        torch.nn.init.ones_(layer.weight)
    return net.requires_grad_(False)


def test_one_latent_code_per_convolution_and_one_for_the_last_colours(small):
    # Convolutions: 1 at 4 x 4, 2 each at 8 x 8 and 16 x 16.
    assert small.num_ws == 1 + 2 * 2 + 1
    assert small.mapping(torch.randn(2, 8)).shape == (2, 6, 8)
    assert [StyleGAN2(out_size=size, num_style_feat=8, num_mlp=1, narrow=1 / 64).num_ws for size in (8, 32, 128)] == [4, 8, 12]


def test_the_number_of_channels_halves_beyond_32():
    assert stylegan2_channels() == {4: 512, 8: 512, 16: 512, 32: 512, 64: 256, 128: 128, 256: 64, 512: 32, 1024: 16}
    assert stylegan2_channels(channel_multiplier=2, narrow=0.5) == {4: 256, 8: 256, 16: 256, 32: 256} | {
        size: 16384 // size for size in (64, 128, 256, 512, 1024)
    }


def test_channels_can_be_listed():
    assert stylegan2_channels(channels=[32, 16, 8]) == {4: 32, 8: 16, 16: 8}
    assert stylegan2_channels(narrow=0.5, channels=[32, 16]) == {4: 16, 8: 8}
    net = StyleGAN2(out_size=16, num_style_feat=8, num_mlp=1, channels=[12, 8, 4])
    assert [conv.modulated_conv.weight.shape[1:3] for conv in net.style_convs] == [(8, 12), (8, 8), (4, 8), (4, 4)]
    with pytest.raises(ValueError, match=r'channels: none at 16 x 16; give one number each for \[4, 8, 16\]'):
        StyleGAN2(out_size=16, num_style_feat=8, num_mlp=1, channels=[12, 8])
    with pytest.raises(ValueError, match='channels 0 must be a whole number of at least 1'):
        stylegan2_channels(channels=[12, 0])


def test_resolutions_are_powers_of_two():
    assert resolutions(8, 64) == [8, 16, 32, 64]
    assert resolutions(4, 4) == [4]


@pytest.mark.parametrize('size', [100, 4, 0])
def test_another_size_is_named(size):
    with pytest.raises(ValueError, match=f'at least 8, not {size}$'):
        resolutions(8, size)


def test_truncation_draws_towards_the_given_latent(small):
    z, mean = torch.randn(2, 8), torch.full((1, 8), 3.0)
    whole, half = small.mapping(z), small.mapping(z, 0.5, mean)
    torch.testing.assert_close(half, (whole + 3) / 2)
    torch.testing.assert_close(small.mapping(z, 0.0, mean), torch.full((2, 6, 8), 3.0))
    with pytest.raises(ValueError, match=r'truncation 0\.5'):
        small.mapping(z, 0.5)


def test_noise_is_stored_or_drawn_from_the_generator_or_none(small):
    ws = torch.randn(2, 6, 8)

    def drawn(seed):
        return small(ws, 'random', torch.Generator().manual_seed(seed))

    assert torch.equal(small(ws), small(ws))
    assert torch.equal(drawn(1), drawn(1))
    assert not torch.allclose(drawn(1), drawn(2))
    without = small(ws, 'none')
    assert not torch.allclose(small(ws), without)
    for layer in (small.style_conv1, *small.style_convs):
        torch.nn.init.zeros_(layer.weight)
    torch.testing.assert_close(small(ws), without)


def test_a_latent_code_acts_from_its_own_layer_on(small):
    def features(ws):
        x, image = small.start(ws.unbind(1))
        found = [x, image]
        for size in (8, 16):
            x = small.upsample(size, x, ws.unbind(1))
            found.append(x)
            x, image = small.refine(size, x, image, ws.unbind(1))
            found += [x, image]
        return found

    # Per feature above, the last latent code it was made with; the toRGB of a size shares it with the next convolution.
    last_used = [0, 1, 1, 2, 3, 3, 4, 5]
    ws = torch.randn(1, 6, 8)
    before = features(ws)
    for changed in range(6):
        other = ws.clone()
        other[:, changed] += 1
        unchanged = [torch.equal(x, y) for x, y in zip(before, features(other), strict=True)]
        expected = [changed > last for last in last_used]
        # The codes of toRGB alone, such as the last one, leave the feature maps as they are.
        expected[7] = False
        assert unchanged == expected


def test_gradients_reach_every_latent_code_of_a_frozen_generator(small):
    ws = torch.randn(2, 6, 8, requires_grad=True)
    small(ws).square().mean().backward()
    assert torch.isfinite(ws.grad).all()
    assert (ws.grad.abs().amax(dim=2) > 0).all()
    assert all(parameter.grad is None for parameter in small.parameters())

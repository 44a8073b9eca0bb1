"""The building blocks against the official EG3D's, and against their definitions."""

import itertools
import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden import Golden, fill, load_official
from torch import Tensor, nn

from frex_arch import ops, rendering
from frex_arch.eg3d_backbone import MappingNetwork, SynthesisBlock, SynthesisLayer, SynthesisNetwork, ToRGBLayer
from frex_arch.resampling import LowPass, Upsample, resample_kernel, upsampling_filter
from frex_arch.triplane_decoder import TriPlaneDecoder

Padding = tuple[int, int, int, int]

GOLDEN = Golden('eg3d_ops')
# What the other records were made of, besides those that are called `in:`.
INPUTS = {
    *('seed', 'filter_1243', 'ramp_planes', 'ramp_point', 'imp_z', 'imp_weights', 'pdf_bins', 'pdf_weights'),
    *('march_colors', 'march_densities_used', 'march_depths', 'unify_depths_in'),
}
LIMIT = 5e-6
# The density is about 20.
LIMITS = {'decoder_sigma': 5e-5}


def given(name: str) -> Tensor:
    """An input of the official blocks."""
    return GOLDEN[f'in:{name}']


def official(name: str, net: nn.Module) -> nn.Module:
    """`net` with the official weights of block `name`."""
    return load_official(net, GOLDEN.keys[name], prefix=f'{name}.')


def resize(size: int, antialias: bool) -> Tensor:
    return F.interpolate(given('resize_x'), size=(size, size), mode='bilinear', align_corners=False, antialias=antialias)


def doubled(x: Tensor, kernel: Tensor) -> Tensor:
    return Upsample(x.shape[1], kernel=kernel)(x)


def halved(x: Tensor, kernel: Tensor) -> Tensor:
    return LowPass(x.shape[1], stride=2, padding=1, kernel=kernel)(x)


def upfirdn2d(x: Tensor, kernel: Tensor, up: int, down: int, padding: Padding, gain: float) -> Tensor:
    """The general operation of StyleGAN2: insert zeros, pad (left, right, top, bottom), filter, keep each `down`-th."""
    spread = x.new_zeros(*x.shape[:2], x.shape[2] * up, x.shape[3] * up)
    spread[:, :, ::up, ::up] = x
    return LowPass(x.shape[1], stride=down, gain=gain, kernel=kernel)(F.pad(spread, padding))


def biased_leaky_relu(x: Tensor, bias: Tensor, gain: float = math.sqrt(2), clamp: float | None = None) -> Tensor:
    """What the official bias_act does: bias, leaky ReLU, gain."""
    return ops.leaky_relu_((x + bias[:, None, None]) * gain, clamp)


def conv2d_layer_up() -> Tensor:
    """EG3D's Conv2dLayer that doubles the size, with clamp 1.2."""
    state = fill(GOLDEN.keys['conv2dlayer_up2'], prefix='conv2dlayer_up2.')
    low_pass = upsampling_filter(len(state['weight']), state['resample_filter'])
    x = ops.upsampling_conv2d(given('conv2d_layer_x'), state['weight'] / math.sqrt(3 * 3 * 3), low_pass)
    return biased_leaky_relu(x, state['bias'], clamp=1.2)


def conv2d_layer_down() -> Tensor:
    """EG3D's linear Conv2dLayer that halves the size, without bias, with gain sqrt(1/2)."""
    state = fill(GOLDEN.keys['conv2dlayer_down2'], prefix='conv2dlayer_down2.')
    x = halved(given('conv2d_layer_x'), state['resample_filter'])
    return F.conv2d(x, state['weight'] / math.sqrt(3)) * math.sqrt(0.5)


def synthesis_layer(name: str, noise: str, **options) -> Tensor:
    return official(name, SynthesisLayer(5, 7, 6, **options))(given('synth_x'), given('w6'), noise)


def synthesis_block() -> tuple[Tensor, Tensor]:
    return official('synthblock', SynthesisBlock(5, 7, 6, 16, 3))(given('synth_x'), given('synth_img'), given('ws3').unbind(1))


def first_synthesis_block() -> tuple[Tensor, Tensor]:
    return official('synthblock_first', SynthesisBlock(0, 7, 6, 4, 3))(None, None, given('ws3').unbind(1)[:2])


def synthesis_network() -> SynthesisNetwork:
    return official('synthnet', SynthesisNetwork(w_dim=6, size=16, image_channels=5, channel_base=64, channel_max=8))


def mapping(*truncation: float) -> Tensor:
    return official('mapnet.mapping', MappingNetwork(6, 25, 8, num_ws=5))(given('mapping_z'), given('mapping_c'), *truncation)


def decoded() -> tuple[Tensor, Tensor]:
    return official('osg.decoder', TriPlaneDecoder(32, 32))(given('decoder_features').mean(dim=1))


def box_depths() -> tuple[Tensor, Tensor]:
    return rendering.box_depths(given('box_rays_o'), F.normalize(given('box_rays_d'), dim=2), side=1.0)


def stratified(disparity: bool) -> Tensor:
    start = torch.full((1, 2), 2.25)
    return rendering.stratified_depths(start, torch.full((1, 2), 3.3), 12, disparity=disparity)[..., None]


def march_depths() -> Tensor:
    return GOLDEN['march_depths'][..., 0]


def march_weights() -> Tensor:
    return rendering.compositing_weights(GOLDEN['march_densities_used'][..., 0], march_depths())


def march_colours(white_background: bool) -> Tensor:
    total = rendering.ray_sum(GOLDEN['march_colors'], rendering.sample_weights(march_weights()))
    return rendering.to_colours(total, march_weights().sum(dim=2, keepdim=True), white_background)


def merged() -> tuple[Tensor, Tensor]:
    return rendering.merge_depths(march_depths(), GOLDEN['unify_depths_in'][..., 0])


def merge(coarse: str, fine: str) -> Tensor:
    values = torch.cat([GOLDEN[coarse], given(fine)], dim=2)
    return values.gather(2, merged()[1][..., None].expand(-1, -1, -1, values.shape[-1]))


FILTER, ASYMMETRIC = resample_kernel(), GOLDEN['filter_1243']
X, W3, W1, STYLES, UNIT = given('fir_x'), given('conv_w3'), given('conv_w1'), given('styles'), torch.ones(2, 3)

OFFICIAL_BLOCKS: dict[str, Callable[[], Tensor]] = {
    'filter_1331': resample_kernel,
    'upsample2d': lambda: doubled(X, FILTER),
    'upsample2d_1243': lambda: doubled(X, ASYMMETRIC),
    'downsample2d': lambda: halved(X, FILTER),
    'downsample2d_1243': lambda: halved(X, ASYMMETRIC),
    'filter2d_1243': lambda: upfirdn2d(X, ASYMMETRIC, 1, 1, (2, 1, 2, 1), 1.0),
    'upfirdn2d_up3_down2_pad': lambda: upfirdn2d(X, ASYMMETRIC, 3, 2, (2, -1, 0, 3), 1.5),
    'conv_k3': lambda: ops.modulated_conv2d(X, W3, UNIT, demodulate=False),
    'conv_k3_up2': lambda: ops.upsampling_conv2d(X, W3, upsampling_filter(4, ASYMMETRIC)),
    'conv_k3_up2_flip': lambda: ops.upsampling_conv2d(X, W3.flip(2, 3), upsampling_filter(4, ASYMMETRIC)),
    'conv_k3_down2': lambda: F.conv2d(LowPass(3, padding=2, kernel=ASYMMETRIC)(X), W3, stride=2),
    'conv_k1_up2': lambda: doubled(ops.modulated_conv2d(X, W1, UNIT, demodulate=False), ASYMMETRIC),
    'conv_k1_down2': lambda: ops.modulated_conv2d(halved(X, ASYMMETRIC), W1, UNIT, demodulate=False),
    'bias_act_linear': lambda: X + given('bias')[:, None, None],
    'bias_act_lrelu': lambda: biased_leaky_relu(X, given('bias')),
    'bias_act_lrelu_gain_clamp': lambda: biased_leaky_relu(X, given('bias'), 2.0, 0.7),
    'normalize_2nd_moment': lambda: ops.normalize_second_moment(given('n2m_x')),
    'modconv': lambda: ops.modulated_conv2d(X, W3, STYLES),
    'modconv_up2_noise': lambda: ops.modulated_conv2d(X, W3, STYLES, low_pass=upsampling_filter(4)) + given('noise_up'),
    'modconv_up2_noise_unfused': lambda: ops.modulated_conv2d(X, W3, STYLES, low_pass=upsampling_filter(4)) + given('noise_up'),
    'modconv_k1_no_demod': lambda: ops.modulated_conv2d(X, W1, STYLES, demodulate=False),
    'fc_linear': lambda: official('fc_linear', ops.EqualLinear(6, 5))(given('fc_x')),
    'fc_lrelu_lr0.01': lambda: official('mapping.fc0', ops.EqualLinear(6, 5, lr_mul=0.01, activate=True))(given('fc_x')),
    'conv2dlayer_up2_lrelu': conv2d_layer_up,
    'conv2dlayer_down2_gain': conv2d_layer_down,
    'synthlayer_up2_const': lambda: synthesis_layer('synthlayer_up2', 'const', size=16, upsample=True),
    'synthlayer_up2_none': lambda: synthesis_layer('synthlayer_up2', 'none', size=16, upsample=True),
    'synthlayer_clamp_const': lambda: synthesis_layer('synthlayer_clamp', 'const', size=8, clamp=1.0),
    'torgb': lambda: official('torgb_layer', ToRGBLayer(5, 3, 6))(given('synth_x'), given('w6')),
    'synthblock_x': lambda: synthesis_block()[0],
    'synthblock_img': lambda: synthesis_block()[1],
    'synthblock_first_x': lambda: first_synthesis_block()[0],
    'synthblock_first_img': lambda: first_synthesis_block()[1],
    'synthnet_num_ws': lambda: torch.tensor(synthesis_network().num_ws),
    'synthnet': lambda: synthesis_network()(given('synthnet_ws')),
    'mapping': mapping,
    'mapping_psi0.7': lambda: mapping(0.7),
    'mapping_psi0.5_cutoff2': lambda: mapping(0.5, 2),
    'mapping_without_c': lambda: official('mapnet_noc.mapping', MappingNetwork(6, 0, 8, num_ws=5))(given('mapping_z')),
    'plane_axes': lambda: torch.eye(3)[torch.tensor([[column, row, 3 - column - row] for column, row in rendering.PLANE_COORDINATES])],
    'projected_coords': lambda: rendering.plane_coordinates(given('coords')),
    'sample_from_planes': lambda: rendering.sample_planes(given('planes'), given('coords')),
    'sample_from_planes_warp1.6': lambda: rendering.sample_planes(given('planes'), given('coords'), box_warp=1.6),
    'ramp_sampled': lambda: rendering.sample_planes(GOLDEN['ramp_planes'], GOLDEN['ramp_point']),
    'decoder_rgb': lambda: rendering.widen_sigmoid(decoded()[0]),
    'decoder_sigma': lambda: decoded()[1][..., None],
    'ray_box_start': lambda: box_depths()[0][..., None],
    'ray_box_end': lambda: box_depths()[1][..., None],
    'stratified_half': lambda: stratified(disparity=False),
    'stratified_half_disparity': lambda: stratified(disparity=True),
    'sample_importance': lambda: rendering.importance_depths(GOLDEN['imp_z'][..., 0], GOLDEN['imp_weights'][..., 0], 16)[..., None],
    'sample_pdf_det': lambda: rendering.inverse_cdf(GOLDEN['pdf_bins'], GOLDEN['pdf_weights'], torch.linspace(0, 1, 16).expand(20, 16)),
    'march_rgb': lambda: march_colours(white_background=False),
    'march_rgb_white': lambda: march_colours(white_background=True),
    'march_depth': lambda: rendering.expected_depth(march_weights(), march_depths(), march_depths())[..., None],
    'march_weights': lambda: march_weights()[..., None],
    'unify_depths': lambda: merged()[0][..., None],
    'unify_colors_out': lambda: merge('march_colors', 'unify_colors'),
    'unify_densities_out': lambda: merge('march_densities_used', 'unify_densities'),
    'resize_16_antialias': lambda: resize(16, antialias=True),
    'resize_16_plain': lambda: resize(16, antialias=False),
    'resize_6_antialias': lambda: resize(6, antialias=True),
    'resize_6_plain': lambda: resize(6, antialias=False),
}


def test_no_official_block_is_forgotten():
    assert set(OFFICIAL_BLOCKS) == {record for record in GOLDEN.arrays if not record.startswith('in:')} - INPUTS


@pytest.mark.parametrize('record', OFFICIAL_BLOCKS)
@torch.no_grad()
def test_equals_the_official_block(record):
    assert GOLDEN.difference(record, OFFICIAL_BLOCKS[record]()) <= LIMITS.get(record, LIMIT)


def naive_upfirdn2d(image: np.ndarray, kernel: np.ndarray, up: int, down: int, padding: Padding, gain: float) -> np.ndarray:
    """The definition, tap by tap."""
    left, right, top, bottom = padding
    (rows, columns), (height, width) = kernel.shape, image.shape
    result = np.zeros(((height * up + top + bottom - rows) // down + 1, (width * up + left + right - columns) // down + 1))
    for y, x, i, j in itertools.product(*map(range, (*result.shape, rows, columns))):
        row, column = y * down + i - top, x * down + j - left
        if row % up == column % up == 0 and 0 <= row < height * up and 0 <= column < width * up:
            # A convolution reads the kernel backwards.
            result[y, x] += gain * kernel[rows - 1 - i, columns - 1 - j] * image[row // up, column // up]
    return result


@pytest.mark.parametrize(
    ('up', 'down', 'padding', 'gain'),
    [
        (1, 1, (0, 0, 0, 0), 1.0),
        (2, 1, (2, 1, 2, 1), 4.0),
        (1, 2, (1, 1, 1, 1), 1.0),
        (3, 2, (2, -1, -2, 3), 0.5),
        (2, 3, (0, 4, 5, 0), 2.0),
    ],
)
def test_the_filter_equals_its_definition(up, down, padding, gain):
    torch.manual_seed(0)
    x, kernel = torch.randn(2, 2, 6, 5, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)
    result = upfirdn2d(x, kernel, up, down, padding, gain).flatten(0, 1)
    for image, filtered in zip(x.flatten(0, 1), result, strict=True):
        np.testing.assert_allclose(filtered.numpy(), naive_upfirdn2d(image.numpy(), kernel.numpy(), up, down, padding, gain), atol=1e-12)


@pytest.mark.parametrize(('resample', 'size'), [(doubled, 16), (halved, 4)])
def test_a_change_of_resolution_moves_nothing(resample, size):
    # x + 2 y at pixel centres, in image widths: what is linear stays so away from the border, where zeros come in.
    def ramp(size):
        centres = (torch.arange(size) + 0.5) / size
        return (centres + 2 * centres[:, None])[None, None]

    inner = slice(2, -2) if size > 8 else slice(1, -1)
    resampled = resample(ramp(8), resample_kernel())
    torch.testing.assert_close(resampled[..., inner, inner], ramp(size)[..., inner, inner])


def explicit_modulated_conv2d(
    x: Tensor, weight: Tensor, style: Tensor, demodulate: bool, convolve: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Each sample convolved with its own modulated weights, as the paper has it."""
    weights = weight * style[:, None, :, None, None]
    if demodulate:
        weights = weights * (weights.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    return torch.cat([convolve(x[sample : sample + 1], weights[sample]) for sample in range(len(x))])


@pytest.mark.parametrize(('channels', 'size', 'padded'), [(256, 128, True), (64, 256, False)])
@torch.no_grad()
def test_a_large_upsampling_convolution_is_the_same_with_a_row_more(monkeypatch, channels, size, padded):
    generator = torch.Generator().manual_seed(0)
    low_pass, sizes = upsampling_filter(32), []
    x = torch.randn(1, size, size, channels, generator=generator).permute(0, 3, 1, 2)
    weight, bias = torch.randn(32, channels, 3, 3, generator=generator), torch.randn(32, generator=generator)
    expected = low_pass(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2), bias)
    plain = F.conv_transpose2d
    monkeypatch.setattr(F, 'conv_transpose2d', lambda *given, **options: sizes.append(given[0].shape[2]) or plain(*given, **options))
    found = ops.upsampling_conv2d(x, weight, low_pass, bias)
    assert (found - expected).abs().max() < 1e-5 * expected.std()
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert sizes == [size + padded]
    with torch.enable_grad():
        ops.upsampling_conv2d(x, weight, low_pass, bias)
    assert sizes[1] == size


@pytest.mark.parametrize('demodulate', [True, False])
@pytest.mark.parametrize(
    ('size', 'low_pass', 'convolve'),
    [
        (1, None, F.conv2d),
        (3, None, partial(F.conv2d, padding=1)),
        (3, upsampling_filter(7), partial(ops.upsampling_conv2d, low_pass=upsampling_filter(7))),
    ],
)
def test_scaling_activations_is_scaling_weights(size, low_pass, convolve, demodulate):
    torch.manual_seed(0)
    x, weight, style = (torch.randn(shape, dtype=torch.float64) for shape in ((3, 4, 12, 10), (7, 4, size, size), (3, 4)))
    expected = explicit_modulated_conv2d(x, weight, style, demodulate, convolve)
    torch.testing.assert_close(ops.modulated_conv2d(x, weight, style, demodulate, low_pass), expected)
    bias = torch.randn(7, dtype=torch.float64)
    for count in (3, 1):
        # One at a time and without gradient it is the weights that are scaled.
        with torch.no_grad():
            pairs = zip(x.split(count), style.split(count), strict=True)
            activated = torch.cat([ops.modulated_conv2d(one, weight, by, demodulate, low_pass, bias, gain=1.5) for one, by in pairs])
        torch.testing.assert_close(activated, 1.5 * (expected + bias[:, None, None]))


def test_leaky_relu_by_hand():
    x = torch.tensor([[-1.0, 2.0], [0.5, -3.0]])
    torch.testing.assert_close(ops.leaky_relu_(x.clone()), torch.tensor([[-0.2, 2.0], [0.5, -0.6]]))
    torch.testing.assert_close(ops.leaky_relu_(x.clone(), clamp=0.55), torch.tensor([[-0.2, 0.55], [0.5, -0.55]]))


def test_normalised_rows_have_mean_square_one():
    torch.manual_seed(0)
    rows = ops.normalize_second_moment(torch.randn(4, 16) * torch.tensor([[0.1], [1.0], [10.0], [100.0]]))
    torch.testing.assert_close(rows.square().mean(dim=1), torch.ones(4))


def test_equalised_dense_layer_by_hand():
    layer = ops.EqualLinear(4, 1, bias_init=3.0, lr_mul=0.5)
    nn.init.ones_(layer.weight)
    # Weights 0.5 / sqrt(4), bias 0.5 * 3.
    torch.testing.assert_close(layer(torch.tensor([[1.0, 2.0, 3.0, 4.0]])), torch.tensor([[10 / 4 + 1.5]]))


def test_equalised_convolution_by_hand():
    layer = ops.EqualConv2d(2, 1, 3)
    nn.init.ones_(layer.weight)
    # Weights 1 / sqrt(2 * 9); of a single pixel's neighbourhood 9 (inside), 6 (edge) or 4 (corner) pixels, in two channels.
    expected = torch.tensor([[4.0, 6, 4], [6, 9, 6], [4, 6, 4]]) * 2 / math.sqrt(18)
    torch.testing.assert_close(layer(torch.ones(1, 2, 3, 3))[0, 0], expected)
    torch.testing.assert_close(layer(torch.ones(1, 2, 3, 3), torch.tensor([0.5]), gain=3.0)[0, 0], 3 * (expected + 0.5))


def test_style_starts_at_one():
    layer = ops.ModulatedConv2d(3, 5, 3, style_dim=4)
    x = torch.randn(2, 3, 6, 6)
    unmodulated = ops.modulated_conv2d(x, layer.weight[0] * layer.scale, torch.ones(2, 3))
    torch.testing.assert_close(layer(x, torch.zeros(2, 4)), unmodulated)


def test_layer_noise_is_none_or_stored_or_one_draw_per_sample():
    stored = torch.zeros(8, 8)
    draw = partial(ops.layer_noise, stored, 3, 'random')
    drawn = draw(torch.Generator().manual_seed(1))
    assert ops.layer_noise(stored, 3, 'none', None) is None
    assert ops.layer_noise(stored, 3, 'const', None) is stored
    assert drawn.shape == (3, 1, 8, 8)
    assert not torch.equal(drawn[0], drawn[1])
    assert torch.equal(draw(torch.Generator().manual_seed(1)), drawn)
    assert not torch.equal(draw(torch.Generator().manual_seed(2)), drawn)


@pytest.mark.parametrize('low_pass', [None, upsampling_filter(3).double()])
def test_gradients_of_the_modulated_convolution(low_pass):
    torch.manual_seed(0)
    inputs = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in ((2, 2, 3, 3), (3, 2, 3, 3), (2, 2))]
    assert torch.autograd.gradcheck(partial(ops.modulated_conv2d, low_pass=low_pass), inputs, fast_mode=True)


RESAMPLERS = {
    'low pass': lambda: LowPass(2, padding=2, kernel=ASYMMETRIC),
    'halve': lambda: LowPass(2, stride=2, padding=1, kernel=ASYMMETRIC),
    'halve, uneven rest': lambda: LowPass(2, stride=3, padding=1, gain=2.0, kernel=ASYMMETRIC),
    'double': lambda: Upsample(2, kernel=ASYMMETRIC),
}


@pytest.mark.parametrize('resampler', RESAMPLERS)
def test_first_and_second_gradients_of_the_filters(resampler):
    torch.manual_seed(0)
    layer = RESAMPLERS[resampler]().double()
    x = torch.randn(1, 2, 7, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, [x])
    # A filter is linear: only behind something that is not has it a second gradient.
    assert torch.autograd.gradgradcheck(lambda x: layer(x.square()).square(), [x])


@pytest.mark.parametrize('resampler', RESAMPLERS)
def test_filters_have_the_gradients_of_a_grouped_convolution(resampler):
    torch.manual_seed(0)
    layer = RESAMPLERS[resampler]()
    x = torch.randn(2, 2, 8, 8, requires_grad=True)
    with torch.no_grad():
        without_gradient = layer(x)
    assert torch.equal(layer(x), without_gradient)
    if isinstance(layer, Upsample):
        plain = F.conv_transpose2d(x, layer.weight, stride=2, padding=1, groups=2)
    else:
        plain = F.conv2d(x, layer.weight, stride=layer.stride, padding=layer.padding, groups=2)
    upstream = torch.randn_like(plain)
    for mine, theirs in zip(*(torch.autograd.grad((out.square() * upstream).sum(), x) for out in (layer(x), plain)), strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize('resampler', RESAMPLERS)
def test_filters_take_the_precision_of_autocast(resampler):
    torch.manual_seed(0)
    layer = RESAMPLERS[resampler]()
    # Numbers that are exact in bfloat16, so that only sums are rounded.
    x = torch.randint(-8, 8, (1, 2, 8, 8)).float().requires_grad_()
    with torch.autocast('cpu', torch.bfloat16):
        made = layer(x)
    assert made.dtype == torch.bfloat16
    torch.testing.assert_close(made.float(), layer(x), rtol=2**-8, atol=0.02)
    (gradient,) = torch.autograd.grad(made.float().sum(), x)
    assert gradient.dtype == torch.float32
    torch.testing.assert_close(gradient, torch.autograd.grad(layer(x).sum(), x)[0], rtol=2**-7, atol=0.01)


def test_a_layer_filters_with_what_its_state_dict_brings():
    torch.manual_seed(0)
    layer, x, w = SynthesisLayer(2, 3, 4, 8, upsample=True), torch.randn(1, 2, 4, 4), torch.randn(1, 4)
    expected = 2 * ops.modulated_conv2d(x, layer.weight, layer.affine(w), low_pass=layer.low_pass)
    layer.load_state_dict(layer.state_dict() | {'resample_filter': 2 * ASYMMETRIC, 'noise_strength': torch.tensor(0.0)})
    other = ops.modulated_conv2d(x, layer.weight, layer.affine(w), low_pass=upsampling_filter(3, 2 * ASYMMETRIC))
    found = layer(x, w) / math.sqrt(2)
    torch.testing.assert_close(found, F.leaky_relu(other, 0.2))
    assert not torch.allclose(found, F.leaky_relu(expected, 0.2))


def test_filters_are_not_in_the_state_dict():
    assert not LowPass(3).state_dict()
    assert not Upsample(3).state_dict()

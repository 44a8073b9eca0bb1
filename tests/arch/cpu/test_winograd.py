"""The convolution with fewer multiplications against the direct one in float64."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from frex_arch.cpu import winograd
from frex_arch.ops import EqualConv2d, same_conv2d


def relative_error(result: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> float:
    exact = F.conv2d(x.double(), weight.double(), None if bias is None else bias.double(), padding=1)
    return float((result - exact).abs().max() / exact.std())


# Less than a band of tiles, several, one band per row of tiles, and more than a row.
@pytest.mark.parametrize('size', [(4, 4), (8, 12), (36, 48), (16, 516)])
@pytest.mark.parametrize('channels_last', [True, False])
def test_equals_the_direct_convolution(size, channels_last):
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(shape, generator=generator) for shape in ((2, 3, *size), (5, 3, 3, 3), (5,)))
    if channels_last:
        x, weight = (tensor.contiguous(memory_format=torch.channels_last) for tensor in (x, weight))
    for given in (bias, None):
        result = winograd.convolve(x, weight, given)
        assert relative_error(result, x, weight, given) < 5e-6
        assert result.is_contiguous(memory_format=torch.channels_last)


def test_its_rounding_error_is_small():
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(1, 512, 32, 32, generator=generator), torch.randn(512, 512, 3, 3, generator=generator)
    # oneDNN's direct convolution of channels-last tensors has 1.1e-5.
    assert relative_error(winograd.convolve(x, weight, None), x, weight, None) < 2e-5


def test_a_large_value_is_rounded_into_its_own_tiles_only():
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(1, 64, 16, 16, generator=generator), torch.randn(64, 64, 3, 3, generator=generator)
    expected = winograd.convolve(x, weight, None)
    x[0, 0, 6, 6] = 256.0
    result, exact = winograd.convolve(x, weight, None), F.conv2d(x.double(), weight.double(), padding=1)
    # Float32's rounding of the largest value's products.
    assert (result - exact).abs().max() < 256 * weight.abs().max() * 5e-6
    result[:, :, 4:8, 4:8] = expected[:, :, 4:8, 4:8]
    assert torch.equal(result, expected)


@torch.no_grad()
def test_takes_the_large_convolutions_of_networks_that_are_not_trained(monkeypatch):
    taken = []
    convolve = winograd.convolve
    monkeypatch.setattr(winograd, 'convolve', lambda *given: taken.append(given[1].shape[:2]) or convolve(*given))
    x, layer = torch.randn(1, 32, 32, 128).permute(0, 3, 1, 2), EqualConv2d(128, 128, 3)
    nn.init.normal_(layer.bias)
    assert relative_error(layer(x), x, layer.weight * layer.scale, layer.bias) < 2e-5
    assert taken == [(128, 128)]

    with torch.enable_grad():
        assert layer(x).requires_grad
    with torch.autocast('cpu', torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    EqualConv2d(128, 128, 3, stride=2)(x)
    EqualConv2d(128, 128, 3, padding=0)(x)
    EqualConv2d(128, 128, 1)(x)
    uneven = torch.randn(1, 32, 34, 128).permute(0, 3, 1, 2)
    for other in (x[:, :, :16], uneven, x.double(), x.contiguous()):
        assert same_conv2d(other, layer.weight.to(other.dtype)).shape == other.shape
    EqualConv2d(128, 120, 3)(x)
    assert taken == [(128, 128)]

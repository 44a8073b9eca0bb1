"""Convolution blocks of the StyleGAN2 critic (BasicSR's layout), which FREx's encoder, decoder and pyramid are built of."""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from frex_arch.ops import SQRT_2, EqualConv2d, leaky_relu_
from frex_arch.resampling import LowPass


class ActivationBias(nn.Module):
    """The bias of a convolution under the name that it has in BasicSR, where the activation that follows holds it; `ConvLayer` adds it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))


class ConvLayer(nn.Sequential):
    """[resampling,] equalised convolution [, biased leaky ReLU]."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, resample: Literal['down', 'up'] | None = None, activate: bool = True
    ) -> None:
        stride, padding = 1, None
        layers: list[nn.Module] = []
        if resample == 'up':
            layers.append(nn.Upsample(scale_factor=2, mode='bilinear', align_corners=False))
        elif resample == 'down' and kernel_size == 1:
            layers.append(LowPass(in_channels, stride=2, padding=1))
        elif resample == 'down':
            layers.append(LowPass(in_channels, padding=2))
            stride, padding = 2, 0
        layers.append(EqualConv2d(in_channels, out_channels, kernel_size, stride=stride, padding=padding, bias=False))
        if activate:
            layers.append(ActivationBias(out_channels))
        super().__init__(*layers)

    def forward(self, x: Float[Tensor, 'batch in_channels height width'], gain: float = 1.0) -> Float[Tensor, 'batch out_channels ...']:
        """Apply the layers and multiply the result by `gain`, which must be above 0."""
        bias = None
        for layer in self:
            if isinstance(layer, EqualConv2d):
                conv = layer
            elif isinstance(layer, ActivationBias):
                bias = layer.bias
            else:
                x = layer(x)
        # A leaky ReLU is linear in positive factors, so that the convolution can take all gains.
        return conv(x, gain=gain) if bias is None else leaky_relu_(conv(x, bias, gain * SQRT_2))


class ResBlock(nn.Module):
    """Residual block that halves or doubles height and width."""

    def __init__(self, in_channels: int, out_channels: int, resample: Literal['down', 'up'] = 'down') -> None:
        super().__init__()
        self.conv1 = ConvLayer(in_channels, in_channels, 3)
        self.conv2 = ConvLayer(in_channels, out_channels, 3, resample=resample)
        self.skip = ConvLayer(in_channels, out_channels, 1, resample=resample, activate=False)

    def forward(self, x: Float[Tensor, 'batch in_channels height width']) -> Float[Tensor, 'batch out_channels ...']:
        # The gain gives a sum of two the variance of one. In place: nothing else reads the result of a convolution without activation.
        gain = math.sqrt(0.5)
        return self.skip(x, gain).add_(self.conv2(self.conv1(x), gain))


# One feature map for each size, by size, in any order.
Features = dict[int, Tensor]

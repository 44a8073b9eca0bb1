"""The convolution blocks of StyleGAN2's critic, with BasicSR's parameter names; FREx's encoder, decoder and pyramid use them too."""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from frex_arch.ops import SQRT_2, EqualConv2d, leaky_relu_
from frex_arch.resampling import LowPass


class ActivationBias(nn.Module):
    """Holds the bias of a convolution under BasicSR's parameter name, which is that of the activation; the convolution adds it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))


class ConvLayer(nn.Sequential):
    """Convolution with equalised learning rate, after an optional resampling and before an optional leaky ReLU with bias.

    `resample` 'down' applies StyleGAN2's low-pass filter and halves the size, for kernel sizes 1 and 3 only; 'up' doubles it by bilinear
    interpolation.
    """

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
        # A leaky ReLU commutes with positive factors, so the convolution applies all gains at once.
        return conv(x, gain=gain) if bias is None else leaky_relu_(conv(x, bias, gain * SQRT_2))


class ResBlock(nn.Module):
    """Residual block that halves (`resample` 'down') or doubles ('up') height and width."""

    def __init__(self, in_channels: int, out_channels: int, resample: Literal['down', 'up'] = 'down') -> None:
        super().__init__()
        self.conv1 = ConvLayer(in_channels, in_channels, 3)
        self.conv2 = ConvLayer(in_channels, out_channels, 3, resample=resample)
        self.skip = ConvLayer(in_channels, out_channels, 1, resample=resample, activate=False)

    def forward(self, x: Float[Tensor, 'batch in_channels height width']) -> Float[Tensor, 'batch out_channels ...']:
        # The gain keeps the variance of the sum that of one summand. The skip's result has no other reader, so it is added to in place.
        gain = math.sqrt(0.5)
        return self.skip(x, gain).add_(self.conv2(self.conv1(x), gain))


# Height (= width) in pixels -> feature map (batch, channels, height, height); the keys have no fixed order.
Features = dict[int, Tensor]

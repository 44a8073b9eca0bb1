"""The operations and layers that StyleGAN2, EG3D and FREx's other parts share, and the checks of their constructors' arguments.

They are in plain PyTorch: no compiler and no CUDA extension is needed.
"""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from frex_arch.cpu import winograd
from frex_arch.cpu.rules import cpu_fast_path
from frex_arch.resampling import LowPass, upsampling_filter

# Which noise the layers of a generator add; `layer_noise` explains the values.
Noise = Literal['const', 'random', 'none']

# The gain with which StyleGAN2's leaky ReLU keeps the variance of its input.
SQRT_2 = math.sqrt(2)

# The greatest number of channels of a layer that a network is built with.
MAX_CHANNELS = 2**16

# The least number of values in the input and in the weights of an upsampling convolution for which one more row makes it faster.
PADDED_INPUT, PADDED_WEIGHTS = 1 << 22, 1 << 16


def check_int(name: str, value: int, least: int, most: int) -> int:
    """Return `value`; raise ValueError, which calls it `name`, unless it is an int from `least` to `most`, both included.

    The limits keep a hostile weight file from asking for a network that takes days to build.
    """
    if not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f'{name} {value!r} must be a whole number of at least {least} and at most {most}')
    return value


def check_positive(name: str, value: float) -> float:
    """Return `value`; raise ValueError, which calls it `name`, unless it is a finite number above 0."""
    if not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError(f'{name} {value!r} must be a number above 0')
    return value


def upsampling_conv2d(
    x: Float[Tensor, 'batch channel height width'],
    weight: Float[Tensor, 'out channel 3 3'],
    low_pass: LowPass,
    bias: Float[Tensor, ' out'] | None = None,
) -> Float[Tensor, 'batch out out_height out_width']:
    """Double height and width by a transposed convolution, then filter with `low_pass` (see `upsampling_filter`) and add `bias`."""
    if cpu_fast_path(x) and len(x) == 1 and x.numel() >= PADDED_INPUT and weight.numel() >= PADDED_WEIGHTS:
        # At some power-of-2 sizes oneDNN does not use its fast AVX2 kernels. One more row of zeros avoids that at almost no cost.
        padded = F.conv_transpose2d(F.pad(x, (0, 0, 0, 1)), weight.transpose(0, 1), stride=2)
        return low_pass(padded, bias)[:, :, : 2 * x.shape[2]]
    return low_pass(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2), bias)


def without_autocast(x: Tensor) -> AbstractContextManager[Any]:
    """Return a context that switches autocast off on the device of `x`: operations in it compute in the dtype of their inputs."""
    device = x.device.type
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()


def leaky_relu_(x: Tensor, clamp: float | None = None) -> Tensor:
    """Apply a leaky ReLU of slope 0.2 in place, and return it, clamped to +-`clamp` unless that is None."""
    x = F.leaky_relu_(x, 0.2)
    return x if clamp is None else x.clamp(-clamp, clamp)


def normalize_second_moment(x: Float[Tensor, 'batch channel']) -> Float[Tensor, 'batch channel']:
    """Scale each sample to a mean square of 1 over its channels."""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


def modulated_conv2d(
    x: Float[Tensor, 'batch channel height width'],
    weight: Float[Tensor, 'out channel k k'],
    style: Float[Tensor, 'batch channel'],
    demodulate: bool = True,
    low_pass: LowPass | None = None,
    bias: Float[Tensor, ' out'] | None = None,
    gain: float = 1.0,
) -> Float[Tensor, 'batch out out_height out_width']:
    """Convolve with weights whose input channels are scaled by `style` (StyleGAN2, Eqs. 1 and 3), with zero padding that keeps the size.

    With `demodulate` the weights of each output channel are then scaled to unit length. With `low_pass` (see `upsampling_filter`), for
    k = 3 only, height and width are doubled. `gain` multiplies the result and the `bias` added to it. It is the gain of the leaky ReLU that
    the caller applies next.

    Activations are scaled instead of weights. The result is the same, one ordinary convolution serves the whole batch, and no gradient is
    computed for frozen weights. The weights are scaled only for a single image without gradient that has more values than they.
    """
    bias = None if bias is None else bias * gain
    if not torch.is_grad_enabled() and not torch.compiler.is_compiling() and len(x) == 1 and x.numel() > weight.numel():
        return _convolution(x, modulated_weight(weight, style[0], demodulate, gain), bias, low_pass)
    if not demodulate:
        return _convolution(scale_channels(x, style if gain == 1 else style * gain), weight, bias, low_pass)
    x = _convolution(scale_channels(x, style), weight, None, low_pass)
    squares = weight.square()
    # `prepare_for_inference` stores the weights of upsampling convolutions with the input channels first: the sum follows that order.
    squares = squares.sum(dim=(2, 3)).T if low_pass is None else squares.transpose(0, 1).sum(dim=(2, 3))
    with without_autocast(style):
        scale = (style.square() @ squares + 1e-8).rsqrt()
    return scale_channels(x, scale if gain == 1 else scale * gain, bias)


def scale_channels(
    x: Float[Tensor, 'batch channel height width'], scale: Float[Tensor, 'batch channel'], bias: Float[Tensor, ' channel'] | None = None
) -> Float[Tensor, 'batch channel height width']:
    """Return `x * scale + bias`, one factor for each channel of each sample, in the dtype of `x`."""
    scale = scale.to(x.dtype)[:, :, None, None]
    return x * scale if bias is None else torch.addcmul(bias.to(x.dtype)[:, None, None], x, scale)


def _convolution(x: Tensor, weight: Tensor, bias: Tensor | None, low_pass: LowPass | None) -> Tensor:
    """Convolve and add `bias`; keep height and width or, with `low_pass`, double them."""
    if low_pass is not None:
        return upsampling_conv2d(x, weight, low_pass, bias)
    return same_conv2d(x, weight, bias)


def same_conv2d(
    x: Float[Tensor, 'batch channel height width'], weight: Float[Tensor, 'out channel k k'], bias: Float[Tensor, ' out'] | None = None
) -> Float[Tensor, 'batch out height width']:
    """Convolve with stride 1 and zero padding that keeps height and width; the kernel size must be odd, which is not checked."""
    return winograd.convolve(x, weight, bias) if winograd.is_faster(x, weight) else F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)


def modulated_weight(
    weight: Float[Tensor, 'out channel k k'], style: Float[Tensor, ' channel'], demodulate: bool, gain: float = 1.0
) -> Float[Tensor, 'out channel k k']:
    """Return `weight` modulated by the style of one sample and, with `demodulate`, demodulated (StyleGAN2, Eqs. 1 and 3), times `gain`."""
    if not demodulate:
        return weight * (style * gain)[:, None, None]
    weight = weight * style[:, None, None]
    return weight * ((weight.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).rsqrt() * gain)


def layer_noise(stored: Tensor, batch: int, noise: Noise, generator: torch.Generator | None) -> Tensor | None:
    """Return the noise that a layer adds: `stored` for 'const', a new normally distributed image per sample for 'random', else None.

    Random noise is drawn from `generator`, which must be on the device of `stored`, or from torch's own where that is None.
    """
    if noise == 'none':
        return None
    if noise == 'const':
        return stored
    shape = (batch, 1, *stored.shape[-2:])
    return torch.randn(shape, generator=generator, device=stored.device, dtype=stored.dtype)


class EqualLinear(nn.Module):
    """Dense layer with equalised learning rate: its parameters are stored divided by their run-time scale.

    `lr_mul` multiplies the learning rate, `bias_init` is the initial stored bias, and `activate` appends StyleGAN2's leaky ReLU. The layer
    computes in the dtype of its weights also within autocast, because it is small and the whole image depends on codes and styles.
    """

    def __init__(self, in_features: int, out_features: int, *, bias_init: float = 0.0, lr_mul: float = 1.0, activate: bool = False) -> None:
        super().__init__()
        self.scale = lr_mul / math.sqrt(in_features)
        self.lr_mul = lr_mul
        self.activate = activate
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_mul)
        self.bias = nn.Parameter(torch.full((out_features,), bias_init))

    def forward(self, x: Float[Tensor, '*batch in_features']) -> Float[Tensor, '*batch out_features']:
        # The scales are factors of one matrix product, so that no scaled copy of the weights is made.
        gain = SQRT_2 if self.activate else 1.0
        with without_autocast(x):
            rows = x.reshape(-1, x.shape[-1]).to(self.weight.dtype)
            rows = torch.addmm(self.bias, rows, self.weight.T, beta=self.lr_mul * gain, alpha=self.scale * gain)
        x = rows.view(*x.shape[:-1], -1)
        return leaky_relu_(x) if self.activate else x

    def scaled(self) -> tuple[Float[Tensor, 'out_features in_features'], Float[Tensor, ' out_features']]:
        """Return weight and bias at their run-time scale, for code that computes this layer by itself."""
        return self.weight * self.scale, self.bias * self.lr_mul


class EqualConv2d(nn.Module):
    """Convolution with equalised learning rate; `padding` None keeps the size at stride 1."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, padding: int | None = None, bias: bool = True
    ) -> None:
        super().__init__()
        self.scale = 1 / math.sqrt(in_channels * kernel_size**2)
        self.stride = stride
        self.padding = kernel_size // 2 if padding is None else padding
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None

    def forward(
        self, x: Float[Tensor, 'batch in_channels height width'], bias: Float[Tensor, ' out_channels'] | None = None, gain: float = 1.0
    ) -> Float[Tensor, 'batch out_channels ...']:
        """Convolve, add `bias` (the layer's own if None), and multiply the sum by `gain`."""
        # Weights and bias are multiplied instead of the result, which is larger.
        weight = self.weight * (self.scale * gain)
        bias = self.bias if bias is None else bias
        bias = bias if bias is None or gain == 1 else bias * gain
        if self.stride == 1 and 2 * self.padding + 1 == weight.shape[-1]:
            return same_conv2d(x, weight, bias)
        return F.conv2d(x, weight, bias, stride=self.stride, padding=self.padding)


class ModulatedConv2d(nn.Module):
    """Modulated convolution with equalised learning rate, and the affine layer that turns w into a style, whose bias is 1 before training.

    `demodulate` is as in `modulated_conv2d`; `upsample` doubles height and width, for kernel size 3 only.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, style_dim: int, *, demodulate: bool = True, upsample: bool = False
    ) -> None:
        super().__init__()
        self.demodulate = demodulate
        self.upsample = upsample
        self.scale = 1 / math.sqrt(in_channels * kernel_size**2)
        self.weight = nn.Parameter(torch.randn(1, out_channels, in_channels, kernel_size, kernel_size))
        self.modulation = EqualLinear(style_dim, in_channels, bias_init=1.0)
        self.low_pass = upsampling_filter(out_channels) if upsample else None

    def forward(
        self,
        x: Float[Tensor, 'batch in_channels height width'],
        style: Float[Tensor, 'batch style_dim'],
        bias: Float[Tensor, ' out_channels'] | None = None,
        gain: float = 1.0,
    ) -> Tensor:
        # The weights' run-time scale is applied to the style, which is smaller.
        style = self.modulation(style) * self.scale
        return modulated_conv2d(x, self.weight.squeeze(0), style, self.demodulate, self.low_pass, bias, gain)


def stylegan2_channels(channel_multiplier: float = 1, narrow: float = 1, channels: Sequence[int] | None = None) -> dict[int, int]:
    """Return StyleGAN2's number of channels at each size from 4 to 1024, by size.

    The official numbers are 512 up to size 32 and 16384 / size above. `channel_multiplier` multiplies those from 64 on. `channels` replaces
    all of these by its own numbers for the sizes 4, 8, 16, ...; larger sizes than it has numbers for are left out, and `channel_multiplier`
    has no effect. `narrow` multiplies all; results are rounded down, and may be 0. Raises ValueError for a factor or a number that is not
    above 0.
    """
    check_positive('channel_multiplier', channel_multiplier)
    check_positive('narrow', narrow)
    if channels is None:
        by_size = dict.fromkeys((4, 8, 16, 32), 512)
        by_size |= {size: int(16384 // size * channel_multiplier) for size in (64, 128, 256, 512, 1024)}
    else:
        counts = [check_int('channels', count, 1, MAX_CHANNELS) for count in channels]
        by_size = dict(zip(resolutions(4, 1024), counts, strict=False))
    return {size: int(count * narrow) for size, count in by_size.items()}


def resolutions(first: int, last: int) -> list[int]:
    """Return the powers of 2 from `first` to `last`, both included.

    Raises ValueError unless both are powers of 2 and `first` <= `last` <= 1024.
    """
    if not isinstance(last, int) or last > 1024:
        raise ValueError(f'image sizes are whole numbers up to 1024, not {last!r}')
    if first.bit_count() != 1 or last.bit_count() != 1 or last < first:
        raise ValueError(f'image sizes are powers of two of at least {first}, not {last}')
    return [2**k for k in range(first.bit_length() - 1, last.bit_length())]

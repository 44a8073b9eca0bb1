"""Building blocks that StyleGAN2 and EG3D share, in plain PyTorch: no compiler and no CUDA extension is needed."""

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

Noise = Literal['const', 'random', 'none']

# The gain with which a leaky ReLU keeps a signal's variance.
SQRT_2 = math.sqrt(2)

# How many numbers the input and the weights of an upsampling convolution have, at least, where a row more makes it faster.
PADDED_INPUT, PADDED_WEIGHTS = 1 << 22, 1 << 16


def check_int(name: str, value: int, least: int, most: int) -> int:
    """Return `value`; raise ValueError outside of `least`..`most`, since a file of weights could otherwise ask for days of work."""
    if not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f'{name} {value!r} must be a whole number of at least {least} and at most {most}')
    return value


def check_positive(name: str, value: float) -> float:
    """Return `value`; raise ValueError unless it is a number above 0."""
    if not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError(f'{name} {value!r} must be a number above 0')
    return value


def upsampling_conv2d(
    x: Float[Tensor, 'batch channel height width'],
    weight: Float[Tensor, 'out channel 3 3'],
    low_pass: LowPass,
    bias: Float[Tensor, ' out'] | None = None,
) -> Float[Tensor, 'batch out out_height out_width']:
    """Convolve and double height and width; `low_pass` as `upsampling_filter` makes it."""
    if cpu_fast_path(x) and len(x) == 1 and x.numel() >= PADDED_INPUT and weight.numel() >= PADDED_WEIGHTS:
        # At some sizes that are powers of 2 oneDNN leaves its fast code for AVX2; a row of zeros more costs next to nothing.
        padded = F.conv_transpose2d(F.pad(x, (0, 0, 0, 1)), weight.transpose(0, 1), stride=2)
        return low_pass(padded, bias)[:, :, : 2 * x.shape[2]]
    return low_pass(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2), bias)


def in_float32(x: Tensor) -> AbstractContextManager[Any]:
    """Return a context in which autocast lowers no precision on the device of `x`."""
    device = x.device.type
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()


def leaky_relu_(x: Tensor, clamp: float | None = None) -> Tensor:
    """Apply a leaky ReLU of slope 0.2 in place, and clamp the result to +-`clamp`."""
    x = F.leaky_relu_(x, 0.2)
    return x if clamp is None else x.clamp(-clamp, clamp)


def normalize_second_moment(x: Float[Tensor, 'batch channel']) -> Float[Tensor, 'batch channel']:
    """Scale each row to a mean square of 1."""
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
    """Convolve with input channels scaled by `style` (StyleGAN2, Eqs. 1 and 3); with a `low_pass` also double the size.

    `gain`, that of an activation that follows, scales both the convolution and its `bias`.

    Activations are scaled rather than weights: the same numbers, one ordinary convolution for the whole batch,
    and nothing computed for the weights when they are frozen. Only for a single image without gradient, where weights are
    fewer than activations, the weights are scaled.
    """
    bias = None if bias is None else bias * gain
    if not torch.is_grad_enabled() and not torch.compiler.is_compiling() and len(x) == 1 and x.numel() > weight.numel():
        return _convolution(x, modulated_weight(weight, style[0], demodulate, gain), bias, low_pass)
    if not demodulate:
        return _convolution(scale_channels(x, style if gain == 1 else style * gain), weight, bias, low_pass)
    x = _convolution(scale_channels(x, style), weight, None, low_pass)
    squares = weight.square()
    # In the order in which `prepare_for_inference` stores weights of upsampling convolutions: input channels first.
    squares = squares.sum(dim=(2, 3)).T if low_pass is None else squares.transpose(0, 1).sum(dim=(2, 3))
    with in_float32(style):
        scale = (style.square() @ squares + 1e-8).rsqrt()
    return scale_channels(x, scale if gain == 1 else scale * gain, bias)


def scale_channels(
    x: Float[Tensor, 'batch channel height width'], scale: Float[Tensor, 'batch channel'], bias: Float[Tensor, ' channel'] | None = None
) -> Float[Tensor, 'batch channel height width']:
    """Return `x * scale + bias`, in the precision of `x`."""
    scale = scale.to(x.dtype)[:, :, None, None]
    return x * scale if bias is None else torch.addcmul(bias.to(x.dtype)[:, None, None], x, scale)


def _convolution(x: Tensor, weight: Tensor, bias: Tensor | None, low_pass: LowPass | None) -> Tensor:
    if low_pass is not None:
        return upsampling_conv2d(x, weight, low_pass, bias)
    return same_conv2d(x, weight, bias)


def same_conv2d(
    x: Float[Tensor, 'batch channel height width'], weight: Float[Tensor, 'out channel k k'], bias: Float[Tensor, ' out'] | None = None
) -> Float[Tensor, 'batch out height width']:
    """Convolve and keep height and width."""
    return winograd.convolve(x, weight, bias) if winograd.is_faster(x, weight) else F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)


def modulated_weight(
    weight: Float[Tensor, 'out channel k k'], style: Float[Tensor, ' channel'], demodulate: bool, gain: float = 1.0
) -> Float[Tensor, 'out channel k k']:
    """Return the weights that one style makes (StyleGAN2, Eqs. 1 and 3), times `gain`."""
    if not demodulate:
        return weight * (style * gain)[:, None, None]
    weight = weight * style[:, None, None]
    return weight * ((weight.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).rsqrt() * gain)


def layer_noise(stored: Tensor, batch: int, noise: Noise, generator: torch.Generator | None) -> Tensor | None:
    """Return one layer's noise image: the `stored` one, a fresh draw per sample, or none."""
    if noise == 'none':
        return None
    if noise == 'const':
        return stored
    shape = (batch, 1, *stored.shape[-2:])
    return torch.randn(shape, generator=generator, device=stored.device, dtype=stored.dtype)


class EqualLinear(nn.Module):
    """Dense layer with an equalised learning rate: parameters are stored divided by their run-time scale.

    Never in the lower precision of autocast: codes and styles are small, and all of an image depends on them.
    """

    def __init__(self, in_features: int, out_features: int, *, bias_init: float = 0.0, lr_mul: float = 1.0, activate: bool = False) -> None:
        super().__init__()
        self.scale = lr_mul / math.sqrt(in_features)
        self.lr_mul = lr_mul
        self.activate = activate
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_mul)
        self.bias = nn.Parameter(torch.full((out_features,), bias_init))

    def forward(self, x: Float[Tensor, '*batch in_features']) -> Float[Tensor, '*batch out_features']:
        # One matrix product: no scaled copy of the weights is made.
        gain = SQRT_2 if self.activate else 1.0
        with in_float32(x):
            rows = x.reshape(-1, x.shape[-1]).to(self.weight.dtype)
            rows = torch.addmm(self.bias, rows, self.weight.T, beta=self.lr_mul * gain, alpha=self.scale * gain)
        x = rows.view(*x.shape[:-1], -1)
        return leaky_relu_(x) if self.activate else x

    def scaled(self) -> tuple[Float[Tensor, 'out_features in_features'], Float[Tensor, ' out_features']]:
        """Return weight and bias at their run-time scale, for code that computes this layer together with others."""
        return self.weight * self.scale, self.bias * self.lr_mul


class EqualConv2d(nn.Module):
    """Convolution with an equalised learning rate; padding keeps the size at stride 1 unless `padding` is given."""

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
        """Convolve, add the layer's own bias or the given one, and multiply by `gain`."""
        # The gain is that of the weights and of the bias: no pass over the result.
        weight = self.weight * (self.scale * gain)
        bias = self.bias if bias is None else bias
        bias = bias if bias is None or gain == 1 else bias * gain
        if self.stride == 1 and 2 * self.padding + 1 == weight.shape[-1]:
            return same_conv2d(x, weight, bias)
        return F.conv2d(x, weight, bias, stride=self.stride, padding=self.padding)


class ModulatedConv2d(nn.Module):
    """Equalised modulated convolution with its style's affine layer, which starts at one."""

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
        # The scale of the weights, where it costs least.
        style = self.modulation(style) * self.scale
        return modulated_conv2d(x, self.weight.squeeze(0), style, self.demodulate, self.low_pass, bias, gain)


def stylegan2_channels(channel_multiplier: float = 1, narrow: float = 1, channels: Sequence[int] | None = None) -> dict[int, int]:
    """Return the channels at each resolution: 512 up to 32, then halved with each doubling; or `channels`, those at 4, 8, 16 and so on.

    `channel_multiplier` multiplies the official ones of 64 and above, `narrow` all of them. Raises ValueError for a factor or a
    count that is not above 0.
    """
    check_positive('channel_multiplier', channel_multiplier)
    check_positive('narrow', narrow)
    if channels is None:
        by_size = dict.fromkeys((4, 8, 16, 32), 512)
        by_size |= {size: int(16384 // size * channel_multiplier) for size in (64, 128, 256, 512, 1024)}
    else:
        counts = [check_int('channels', count, 1, 2**16) for count in channels]
        by_size = dict(zip(resolutions(4, 1024), counts, strict=False))
    return {size: int(count * narrow) for size, count in by_size.items()}


def resolutions(first: int, last: int) -> list[int]:
    """Return the powers of two from `first` to `last` <= 1024, both included; raise ValueError for other sizes."""
    if not isinstance(last, int) or last > 1024:
        raise ValueError(f'image sizes are whole numbers up to 1024, not {last!r}')
    if first.bit_count() != 1 or last.bit_count() != 1 or last < first:
        raise ValueError(f'image sizes are powers of two of at least {first}, not {last}')
    return [2**k for k in range(first.bit_length() - 1, last.bit_length())]

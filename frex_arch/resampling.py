"""The low-pass filter with which StyleGAN2, EG3D and their critics change the resolution, as layers without parameters."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

RESAMPLE_TAPS = (1.0, 3.0, 3.0, 1.0)


def resample_kernel() -> Float[Tensor, '4 4']:
    """Return StyleGAN2's low-pass filter, the outer product of (1, 3, 3, 1) with itself, normalised to a sum of 1."""
    taps = torch.tensor(RESAMPLE_TAPS)
    return torch.outer(taps, taps) / taps.sum() ** 2


class _Filter(torch.autograd.Function):
    """Depthwise convolution with constant weights; its gradient is the transposed convolution.

    It exists for R1, which differentiates twice: autograd's own second derivative of a grouped convolution loops over the channels.
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        return F.conv2d(x, weight, stride=stride, padding=padding, groups=len(weight))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, int, int], output: Tensor) -> None:
        x, weight, ctx.stride, ctx.padding = inputs
        ctx.size = x.shape[2:]
        ctx.save_for_backward(weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (weight,) = ctx.saved_tensors
        extra = [n - ((m - 1) * ctx.stride - 2 * ctx.padding + weight.shape[-1]) for n, m in zip(ctx.size, gradient.shape[2:], strict=True)]
        return _TransposedFilter.apply(gradient, weight, ctx.stride, ctx.padding, extra), None, None, None


class _TransposedFilter(torch.autograd.Function):
    """The transpose of `_Filter`, with which its gradient is computed; `extra` (rows, columns) is what the stride left over at the end."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, stride: int, padding: int, extra: list[int]) -> Tensor:
        return F.conv_transpose2d(x, weight, stride=stride, padding=padding, output_padding=extra, groups=len(weight))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, int, int, list[int]], output: Tensor) -> None:
        _, weight, ctx.stride, ctx.padding, _ = inputs
        ctx.save_for_backward(weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        (weight,) = ctx.saved_tensors
        return _Filter.apply(gradient, weight, ctx.stride, ctx.padding), None, None, None, None


def _is_recorded(x: Tensor) -> bool:
    """Return whether autograd records operations on `x`; False in compiled code, which is never differentiated twice."""
    return torch.is_grad_enabled() and x.requires_grad and not torch.compiler.is_compiling()


class Resample(nn.Module):
    """Base of the depthwise filters: holds `kernel` (StyleGAN2's if None) once per channel, in float32 and in bfloat16.

    These buffers are not part of the state dict. StyleGAN2's kernel is exact in both precisions.
    """

    weight: Tensor
    weight_bf16: Tensor

    def __init__(self, channels: int, kernel: Float[Tensor, 'kh kw'] | None) -> None:
        super().__init__()
        kernel = resample_kernel() if kernel is None else kernel
        self.register_buffer('weight', kernel.new_empty(channels, 1, *kernel.shape), persistent=False)
        self.register_buffer('weight_bf16', torch.empty_like(self.weight, dtype=torch.bfloat16), persistent=False)
        self.prepare(kernel)

    def prepare(self, kernel: Float[Tensor, 'kh kw']) -> None:
        """Replace the kernel, for example by that of a loaded state dict."""
        weight = self.scaled(kernel)
        self.weight.copy_(weight)
        self.weight_bf16.copy_(weight)

    def scaled(self, kernel: Float[Tensor, 'kh kw']) -> Float[Tensor, 'kh kw']:
        """Return the weights of one channel for torch's convolution, which correlates, with the layer's gain."""
        raise NotImplementedError

    def _cast(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return `x` and the weights in the dtype of `x`, or within autocast in autocast's."""
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        return x.to(dtype), (self.weight_bf16 if dtype == torch.bfloat16 else self.weight).to(dtype)


class LowPass(Resample):
    """Depthwise low-pass filter that keeps every `stride`-th row and column, pads with `padding` zeros and can add a bias.

    `kernel` (StyleGAN2's if None) is convolved, not correlated, and multiplied by `gain`.
    """

    def __init__(
        self, channels: int, *, stride: int = 1, padding: int = 0, gain: float = 1.0, kernel: Float[Tensor, 'kh kw'] | None = None
    ) -> None:
        self.gain = gain
        super().__init__(channels, kernel)
        self.stride = stride
        self.padding = padding

    def scaled(self, kernel: Float[Tensor, 'kh kw']) -> Float[Tensor, 'kh kw']:
        # conv2d correlates; a true convolution needs the flipped kernel.
        return kernel.flip(0, 1) * self.gain

    def forward(self, x: Float[Tensor, 'batch channel height width'], bias: Float[Tensor, ' channel'] | None = None) -> Tensor:
        x, weight = self._cast(x)
        if _is_recorded(x):
            x = _Filter.apply(x, weight, self.stride, self.padding)
            return x if bias is None else x + bias.to(x.dtype)[:, None, None]
        return F.conv2d(x, weight, bias, stride=self.stride, padding=self.padding, groups=len(weight))


class Upsample(Resample):
    """Doubles height and width by inserting zeros, and filters the result with `kernel` (StyleGAN2's if None)."""

    def __init__(self, channels: int, *, kernel: Float[Tensor, '4 4'] | None = None) -> None:
        super().__init__(channels, kernel)

    def scaled(self, kernel: Float[Tensor, '4 4']) -> Float[Tensor, '4 4']:
        return kernel * 4

    def forward(self, x: Float[Tensor, 'batch channel height width']) -> Float[Tensor, 'batch channel out_height out_width']:
        x, weight = self._cast(x)
        if _is_recorded(x):
            return _TransposedFilter.apply(x, weight, 2, 1, [0, 0])
        return F.conv_transpose2d(x, weight, stride=2, padding=1, groups=len(weight))


def upsampling_filter(channels: int, kernel: Float[Tensor, '4 4'] | None = None) -> LowPass:
    """Return the low-pass filter that follows a transposed 3 x 3 convolution of stride 2; its gain makes up for the inserted zeros."""
    return LowPass(channels, padding=1, gain=4.0, kernel=kernel)

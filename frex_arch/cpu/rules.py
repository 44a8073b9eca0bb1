"""What is faster on processors, without gradient."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

# e^x = 2^(x log2 e), and 2^x costs a fifth.
LOG2_E = math.log2(math.e)
# 2^128 is no float32 any more.
LARGEST_POWER = 127.0


def cpu_fast_path(x: Tensor) -> bool:
    """Whether small pieces of work pay, because what they make stays in a processor's cache: without gradient, neither compiled nor traced.

    Not in float16 either, whose range the powers of 2 would leave.
    """
    recorded = torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.jit.is_tracing()
    return x.device.type == 'cpu' and not recorded and torch.float16 not in (x.dtype, _autocast_dtype())


def _autocast_dtype() -> torch.dtype | None:
    return torch.get_autocast_dtype('cpu') if torch.is_autocast_enabled('cpu') else None


def pointwise(
    x: Float[Tensor, 'batch points in'], weight: Float[Tensor, 'out in'], bias: Float[Tensor, ' out']
) -> Float[Tensor, 'batch points out']:
    """A dense layer as a convolution, which threads share better than a product of tall matrices."""
    return F.conv2d(x[:, :, None].permute(0, 3, 1, 2), weight[..., None, None], bias).permute(0, 2, 3, 1)[:, :, 0]


def softplus2_(x: Tensor) -> Tensor:
    """Softplus in powers of 2: log2(1 + 2^x), which may overwrite `x`; `LOG2_E` times the softplus of `x / LOG2_E`."""
    # log1p would take five times as long. Beyond the range, or for what is no number, the form that is safe.
    return x.exp2_().add_(1).log2_() if x.amax() < LARGEST_POWER else torch.logaddexp2(x, x.new_zeros(()))

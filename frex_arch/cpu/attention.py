"""`scaled_dot_product_attention` for many small windows on a CPU."""

import torch
import torch.nn.functional as F
from torch import Tensor

from frex_arch.cpu.dense import LOG2_E

# Softmax denominators outside of this range may come from terms that overflowed or underflowed in float32.
SMALLEST_SUM, LARGEST_SUM = 2.0**-100, 2.0**100


def small_window_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return softmax(query key^T / sqrt(channels)) value; all tensors are (windows, heads, tokens, channels of a head).

    It is equal to torch's function up to rounding, without gradient (see `cpu_fast_path`). Plain matrix products and powers of 2 take half
    the time of torch's kernel where windows are small.
    """
    powers = torch.bmm((query * (LOG2_E * query.shape[-1] ** -0.5)).flatten(0, 1), key.transpose(2, 3).flatten(0, 1)).exp2_()
    # A further channel of values, 1 everywhere, gives the denominators of softmax.
    values = F.pad(value, (0, 1), value=1.0).transpose(2, 3).flatten(0, 1)
    result, total = torch.bmm(values, powers.transpose(1, 2)).split([value.shape[3], 1], dim=1)
    # Where a denominator is out of range or NaN, torch's kernel takes over, which subtracts the largest logit first.
    if bool(((total > SMALLEST_SUM) & (total < LARGEST_SUM)).all()):
        return (result / total).unflatten(0, query.shape[:2]).transpose(2, 3)
    return F.scaled_dot_product_attention(query, key, value)

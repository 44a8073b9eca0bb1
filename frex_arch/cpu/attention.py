"""`scaled_dot_product_attention` for many small windows.

Queries, keys, values and the result are (windows, heads, tokens, channels of a head).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from frex_arch.cpu.dense import LOG2_E

# Sums of attention weights beyond these may have left float32's range on the way.
SMALLEST_SUM, LARGEST_SUM = 2.0**-100, 2.0**100


def small_window_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Compute attention as plain matrix products and powers of 2, which takes half the time where windows are small."""
    powers = torch.bmm((query * (LOG2_E * query.shape[-1] ** -0.5)).flatten(0, 1), key.transpose(2, 3).flatten(0, 1)).exp2_()
    # One more channel of values, which is 1 everywhere, gives the sums of the attention weights.
    values = F.pad(value, (0, 1), value=1.0).transpose(2, 3).flatten(0, 1)
    result, total = torch.bmm(values, powers.transpose(1, 2)).split([value.shape[3], 1], dim=1)
    # Where a sum is out of range or NaN, softmax's own way, which subtracts the largest power first.
    if bool(((total > SMALLEST_SUM) & (total < LARGEST_SUM)).all()):
        return (result / total).unflatten(0, query.shape[:2]).transpose(2, 3)
    return F.scaled_dot_product_attention(query, key, value)

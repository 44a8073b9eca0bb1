"""`scaled_dot_product_attention` of windows, in the forms that many and small ones need.

Queries, keys and values are (windows, heads, tokens, channels of a head), and so is the answer.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from frex_arch.cpu.rules import LOG2_E

# Beyond these, weights may have left float32's range.
SMALLEST_SUM, LARGEST_SUM = 2.0**-100, 2.0**100


def attention_of_small_windows(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """As plain matrix products and powers of 2: where windows are small, these take half of the time on a processor."""
    powers = torch.bmm((query * (LOG2_E * query.shape[-1] ** -0.5)).flatten(0, 1), key.transpose(2, 3).flatten(0, 1)).exp2_()
    # A value of 1 sums the weights.
    values = F.pad(value, (0, 1), value=1.0).transpose(2, 3).flatten(0, 1)
    answer, total = torch.bmm(values, powers.transpose(1, 2)).split([value.shape[3], 1], dim=1)
    # Otherwise softmax's own way, which subtracts the largest power first; also for what is no number.
    if bool(((total > SMALLEST_SUM) & (total < LARGEST_SUM)).all()):
        return (answer / total).unflatten(0, query.shape[:2]).transpose(2, 3)
    return F.scaled_dot_product_attention(query, key, value)

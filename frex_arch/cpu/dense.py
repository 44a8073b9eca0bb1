"""`TriPlaneDecoder` for millions of points on a CPU, with few passes over memory and with powers of 2 instead of e."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

# e^x = 2^(x log2(e)), and computing 2^x takes a fifth of the time of e^x.
LOG2_E = math.log2(math.e)
# 2^128 is beyond the range of float32.
LARGEST_POWER = 127.0


def decode_points(
    features: Float[Tensor, 'batch points channel'],
    weight1: Float[Tensor, 'hidden channel'],
    bias1: Float[Tensor, ' hidden'],
    weight2: Float[Tensor, 'decoded hidden'],
    bias2: Float[Tensor, ' decoded'],
) -> tuple[Float[Tensor, 'batch points feature'], Float[Tensor, 'batch points']]:
    """Apply a dense layer, softplus and a second dense layer, of given weights and biases.

    Returns the sigmoid of all outputs but the first, the features, and the first as it is, the raw density.
    """
    hidden = softplus2_(pointwise(features, weight1 * LOG2_E, bias1 * LOG2_E))
    weight2 = weight2 / LOG2_E
    return pointwise(hidden, weight2[1:], bias2[1:]).sigmoid_(), hidden @ weight2[0] + bias2[0]


def pointwise(
    x: Float[Tensor, 'batch points in'], weight: Float[Tensor, 'out in'], bias: Float[Tensor, ' out']
) -> Float[Tensor, 'batch points out']:
    """Apply a dense layer as a 1 x 1 convolution, which uses several threads better than the product of tall matrices."""
    return F.conv2d(x[:, :, None].permute(0, 3, 1, 2), weight[..., None, None], bias).permute(0, 2, 3, 1)[:, :, 0]


def softplus2_(x: Tensor) -> Tensor:
    """Return log2(1 + 2^x), which is `LOG2_E` times the softplus of x / `LOG2_E`; `x` may be overwritten."""
    # log1p would take five times as long. Values beyond float32's range and NaN need the safe form.
    return x.exp2_().add_(1).log2_() if x.amax() < LARGEST_POWER else torch.logaddexp2(x, x.new_zeros(()))

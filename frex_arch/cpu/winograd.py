"""3 x 3 convolution on a CPU with a quarter of the multiplications: Winograd's F(4 x 4, 3 x 3) (Lavin and Gray 2016).

Input tiles of 6 x 6 pixels and weights are transformed, that is, evaluated as polynomials at 0, +-sqrt(1/2), +-sqrt(2) and infinity. With
these points, unlike with the usual 0, +-1 and +-2, the rounding error is as small as that of oneDNN's direct convolution. It is relative to
the largest value of the tile, however, so small values beside large ones are less accurate.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from frex_arch.cpu.rules import cpu_fast_path

# The least channels of input and output, their least product, and the least pixels with which it is faster than oneDNN.
FEWEST_CHANNELS, FEWEST_WEIGHTS, FEWEST_PIXELS = 64, 128 * 128, 1024
# Tiles that are transformed at a time, so that they stay in the cache.
TILES = 128

ROOT = math.sqrt(0.5)
# The matrix G of Lavin and Gray: one row for each point, divided by the product of the point's distances from the others.
WEIGHT_TRANSFORM = torch.tensor(
    [
        [1.0, 0.0, 0.0],
        [-2 / 3, -2 / 3 * ROOT, -1 / 3],
        [-2 / 3, 2 / 3 * ROOT, -1 / 3],
        [1 / 6, 1 / 3 * ROOT, 1 / 3],
        [1 / 6, -1 / 3 * ROOT, 1 / 3],
        [0.0, 0.0, 1.0],
    ],
    dtype=torch.float64,
    device='cpu',
)
WEIGHT_TRANSFORM_2D = torch.kron(WEIGHT_TRANSFORM, WEIGHT_TRANSFORM).float()


def is_faster(x: Tensor, weight: Tensor) -> bool:
    """Return whether `convolve` may be used for `x` (batch, channel, height, width) and is faster than `conv2d`."""
    out_channels, channels, *kernel = weight.shape
    height, width = x.shape[-2:]
    return (
        cpu_fast_path(x)
        and x.is_contiguous(memory_format=torch.channels_last)
        and kernel == [3, 3]
        and min(channels, out_channels) >= FEWEST_CHANNELS
        and channels * out_channels >= FEWEST_WEIGHTS
        and height * width >= FEWEST_PIXELS
        and height % 4 == width % 4 == 0
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled('cpu')
    )


def convolve(
    x: Float[Tensor, 'batch channel height width'], weight: Float[Tensor, 'out channel 3 3'], bias: Float[Tensor, ' out'] | None
) -> Float[Tensor, 'batch out height width']:
    """Compute `conv2d` with padding 1 and stride 1 in float32, on a CPU and without gradient; `is_faster` says where this is allowed.

    Height and width must be multiples of 4. This is not checked: the result may be wrong otherwise.
    """
    batch, _, height, width = x.shape
    weights = transform_weight(weight)
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    result = x.new_empty(batch, height, width, len(weight))
    rows = 4 * max(1, TILES * 4 // width)
    for sample in range(batch):
        for first in range(0, height, rows):
            last = min(first + rows, height)
            _convolve_band(padded[sample, first : last + 2], weights, result[sample, first:last])
    return (result if bias is None else result.add_(bias)).permute(0, 3, 1, 2)


def transform_weight(weight: Float[Tensor, 'out channel 3 3']) -> Float[Tensor, '36 channel out']:
    """Return G g G^T for each kernel g, its 6 x 6 values flattened into the first dimension."""
    return (WEIGHT_TRANSFORM_2D @ weight.permute(0, 2, 3, 1).flatten(1, 2)).permute(1, 2, 0)


def _convolve_band(
    x: Float[Tensor, 'higher wider channel'], weights: Float[Tensor, '36 channel out'], result: Float[Tensor, 'height width out']
) -> None:
    """Convolve a band of rows of one image into `result`; `x` has one row and one column of padding on each side."""
    high, wide = result.shape[0] // 4, result.shape[1] // 4
    rows = x.new_empty(6, high, x.shape[1], x.shape[2])
    input_transform([x[row : row + 4 * high - 3 : 4] for row in range(6)], rows)
    tiles = x.new_empty(6, 6, high, wide, x.shape[2])
    input_transform([rows[:, :, column : column + 4 * wide - 3 : 4] for column in range(6)], tiles.transpose(0, 1))
    products = torch.bmm(tiles.flatten(0, 1).flatten(1, 2), weights).view(6, 6, high, wide, -1)
    rows = x.new_empty(4, 6, high, wide, result.shape[2])
    output_transform(products, rows)
    output_transform(rows.transpose(0, 1), result.view(high, 4, wide, 4, -1).permute(3, 1, 0, 2, 4))


def input_transform(x: list[Tensor], values: Tensor) -> None:
    """Write the input transform B^T of each tile in one direction to `values`.

    `x` holds the six pixels of all tiles in that direction, the first dimension of `values` the six points.
    """
    for first, point, square_of_other in ((1, ROOT, 2.0), (3, 2 * ROOT, 0.5)):
        even, odd = torch.sub(x[4], x[2], alpha=square_of_other), torch.sub(x[3], x[1], alpha=square_of_other)
        torch.add(even, odd, alpha=point, out=values[first])
        torch.sub(even, odd, alpha=point, out=values[first + 1])
    for at, first in ((0, 0), (5, 1)):
        torch.add(x[first], x[first + 4], out=values[at]).sub_(x[first + 2], alpha=2.5)


def output_transform(values: Tensor, result: Tensor) -> None:
    """Write the output transform A^T of each tile in one direction to `result`.

    The first dimension of `values` is the six points, that of `result` the four pixels of a tile.
    """
    small, large = values[1] + values[2], values[3] + values[4]
    torch.mul(torch.add(small, large, alpha=4), 0.5, out=result[2])
    torch.add(small.add_(large), values[0], out=result[0])
    torch.sub(values[1], values[2], out=small)
    torch.sub(values[3], values[4], out=large)
    torch.mul(torch.add(small, large, alpha=2), ROOT, out=result[1])
    torch.add(values[5], small.add_(large, alpha=8), alpha=ROOT / 2, out=result[3])

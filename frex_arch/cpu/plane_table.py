"""Bilinear look-up in two planes on a CPU: one weighted sum of eight rows of a table, the four texels around a point in each plane.

The result is that of `rendering.sample_planes`, summed over the planes, with far less memory traffic.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from frex_arch.rendering import PLANE_COORDINATES

# Rows and columns of zeros around a plane: one before it and two behind it, since a point on the far edge reads one texel further.
BEFORE, BEHIND = 1, 2
# The axes of the columns and of the rows of each merged plane.
AXES = PLANE_COORDINATES[:2]


def texel_weights() -> tuple[Float[Tensor, '16 3'], Float[Tensor, ' 16']]:
    """Return weight and bias of a dense layer that computes the factors of bilinear interpolation in both planes.

    Its inputs are the fractional parts of x, y and z in texels. Its first 8 outputs are the factors of the 4 texels of each plane along its
    rows' axis, the other 8 those along its columns' axis: 1 - fraction for the first texel, fraction for the second. The weight of a texel
    is the product of its two factors.
    """
    slope, start = torch.zeros(2, 2, 2, 2, 3), torch.zeros(2, 2, 2, 2)
    for plane, (column, row) in enumerate(AXES):
        slope[0, plane, 0, :, row], slope[0, plane, 1, :, row] = -1.0, 1.0
        slope[1, plane, :, 0, column], slope[1, plane, :, 1, column] = -1.0, 1.0
    start[0, :, 0], start[1, :, :, 0] = 1.0, 1.0
    return slope.flatten(0, 3), start.flatten()


class PlaneTable:
    """The texels of one head's two planes from `merge_planes`, which cover a cube of side `box_warp`, as rows of one table."""

    def __init__(self, planes: Float[Tensor, '2 channel size size'], box_warp: float) -> None:
        self.size = planes.shape[-1]
        self.box_warp = box_warp
        self.stride = BEFORE + self.size + BEHIND
        padded = planes.new_zeros(2, self.stride, self.stride, planes.shape[1])
        padded[:, BEFORE:-BEHIND, BEFORE:-BEHIND] = planes.permute(0, 2, 3, 1)
        self.texels = padded.flatten(0, 2)
        self.texel_layer = [constant.to(planes) for constant in texel_weights()]
        # Offsets in the table from the first texel around a point to all four.
        self.corners = torch.tensor([0, 1, self.stride, self.stride + 1], dtype=torch.int32, device=planes.device)

    def look_up(self, points: Float[Tensor, '1 points 3']) -> Float[Tensor, '1 points channel']:
        """Return the sum of both planes' features at points of the world, interpolated bilinearly; zero outside of the cube.

        No coordinate may be NaN, which is not checked.
        """
        position = points[0] * (self.size / self.box_warp) + ((self.size - 1) / 2 + BEFORE)
        position = position.clamp_(0, self.size + BEFORE)
        low = position.floor()
        fraction = position.sub_(low)
        along_rows, along_columns = F.linear(fraction, *self.texel_layer).chunk(2, dim=1)
        low = low.int()
        first = [low[:, row] * self.stride + low[:, column] + plane * self.stride**2 for plane, (column, row) in enumerate(AXES)]
        rows = torch.stack(first, dim=1)[:, :, None] + self.corners
        return F.embedding_bag(rows.flatten(1), self.texels, mode='sum', per_sample_weights=along_rows * along_columns)[None]

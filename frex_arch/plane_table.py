"""Tri-planes as one table of texels: what `rendering.sample_planes` reads, averaged over the planes, as sums of twelve rows.

For processors, without gradient: a sum of table rows moves a quarter of the memory that three look-ups and their mean do.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from frex_arch.rendering import PLANE_COORDINATES

# Texels of zeros beyond the planes: one before, and two behind, since a point on the far edge reads one further.
BEFORE, BEHIND = 1, 2


def side_weights(rows: bool) -> tuple[Float[Tensor, '12 3'], Float[Tensor, ' 12']]:
    """The dense layer from the fractions of x, y and z to the weights of each plane's four texels along its rows or columns.

    Of the two texels around a point the first weighs 1 - fraction, the second fraction; of the rows' a third, for the mean of planes.
    """
    slope, start = torch.zeros(3, 2, 2, 3), torch.zeros(3, 2, 2)
    for plane, (column, row) in enumerate(PLANE_COORDINATES):
        axis, texels = (row, slope[plane]) if rows else (column, slope[plane].transpose(0, 1))
        texels[0, :, axis], texels[1, :, axis] = -1.0, 1.0
        start[plane][(0,) if rows else (slice(None), 0)] = 1.0
    share = len(PLANE_COORDINATES) if rows else 1
    return slope.flatten(0, 2) / share, start.flatten() / share


ALONG_ROWS, ALONG_COLUMNS = side_weights(rows=True), side_weights(rows=False)


class PlaneTable:
    """The planes of one head; points are in a cube of side `box_warp`."""

    def __init__(self, planes: Float[Tensor, '3 channel size size'], box_warp: float) -> None:
        self.size = planes.shape[-1]
        self.box_warp = box_warp
        self.stride = BEFORE + self.size + BEHIND
        padded = planes.new_zeros(3, self.stride, self.stride, planes.shape[1])
        padded[:, BEFORE:-BEHIND, BEFORE:-BEHIND] = planes.permute(0, 2, 3, 1)
        self.texels = padded.flatten(0, 2)
        self.columns, self.rows = torch.tensor(PLANE_COORDINATES).T
        self.first = torch.arange(3) * self.stride**2
        self.neighbours = torch.tensor([0, 1, self.stride, self.stride + 1], dtype=torch.int32)

    def look_up(self, points: Float[Tensor, '1 points 3']) -> Float[Tensor, '1 points channel']:
        """Bilinear look-up, the mean of the three planes; zero outside."""
        position = points[0] * (self.size / self.box_warp) + ((self.size - 1) / 2 + BEFORE)
        position = position.clamp_(0, self.size + BEFORE)
        low = position.floor()
        fraction = position.sub_(low)
        weights = F.linear(fraction, *ALONG_ROWS).mul_(F.linear(fraction, *ALONG_COLUMNS))
        corner = low.index_select(1, self.rows) * self.stride + low.index_select(1, self.columns) + self.first
        texels = corner.int()[:, :, None] + self.neighbours
        bags = torch.arange(0, texels.numel(), 12, dtype=torch.int32)
        return F.embedding_bag(texels.flatten(), self.texels, bags, mode='sum', per_sample_weights=weights.flatten())[None]

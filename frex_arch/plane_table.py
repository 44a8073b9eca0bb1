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


class PlaneTable:
    """The planes of one head; points are in a cube of side `box_warp`."""

    def __init__(self, planes: Float[Tensor, '3 channel size size'], box_warp: float) -> None:
        padded = F.pad(planes / len(planes), (BEFORE, BEHIND, BEFORE, BEHIND))
        self.texels = padded.permute(0, 2, 3, 1).flatten(0, 2).contiguous()
        self.size = planes.shape[-1]
        self.box_warp = box_warp
        stride = padded.shape[-1]
        self.stride = stride
        device = planes.device
        self.columns, self.rows = torch.tensor(PLANE_COORDINATES, device=device).T
        self.first = torch.arange(3, device=device) * stride**2
        self.neighbours = torch.tensor([0, 1, stride, stride + 1], dtype=torch.int32, device=device)

    def look_up(self, points: Float[Tensor, '1 points 3']) -> Float[Tensor, '1 points channel']:
        """Bilinear look-up, the mean of the three planes; zero outside."""
        position = points[0] * (self.size / self.box_warp) + ((self.size - 1) / 2 + BEFORE)
        position = position.clamp_(0, self.size + BEFORE)
        low = position.floor()
        fraction = position.sub_(low)
        x, y = fraction.index_select(1, self.columns), fraction.index_select(1, self.rows)
        both = x * y
        only_x, only_y = x - both, y - both
        weights = torch.stack([1 - x - only_y, only_x, only_y, both], dim=2)
        corner = low.index_select(1, self.rows) * self.stride + low.index_select(1, self.columns) + self.first
        texels = corner.int()[:, :, None] + self.neighbours
        bags = torch.arange(0, texels.numel(), 12, dtype=torch.int32, device=texels.device)
        return F.embedding_bag(texels.flatten(), self.texels, bags, mode='sum', per_sample_weights=weights.flatten())[None]

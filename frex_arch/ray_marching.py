"""Marching rays through the planes of a head: coarse samples, fine ones where something is, one sum a ray (FREx, Eq. 2)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from frex_arch import rendering
from frex_arch.cpu.plane_table import PlaneTable
from frex_arch.cpu.rules import cpu_fast_path
from frex_arch.rendering import Depths

# Rays at a time on a processor: of 256, 512, 1024 and 2048 about the fastest.
PART = 1024

# Points to features in [0, 1] and raw densities, (batch, points, n) and (batch, points).
Query = Callable[[Float[Tensor, 'batch points 3']], tuple[Tensor, Tensor]]
Mask = Float[Tensor, 'batch 1 size size']
# Features, depths and opacities, (batch, rays, 1 to n channels).
RayOutputs = tuple[Tensor, Tensor, Tensor]


class Rays(NamedTuple):
    """Rays, the depths of their coarse samples, and `u` for the fine ones (see `importance_depths`)."""

    origins: Float[Tensor, 'batch rays 3']
    directions: Float[Tensor, 'batch rays 3']
    coarse: Depths
    u: Float[Tensor, 'batch rays fine'] | None

    def split(self, size: int, dim: int) -> Iterator['Rays']:
        """Some samples (`dim` 0) or rays (1) at a time."""
        coarse = self.coarse.split(size, dim)
        us = [None] * len(coarse) if self.u is None else self.u.split(size, dim)
        return map(Rays, self.origins.split(size, dim), self.directions.split(size, dim), coarse, us)

    def chosen(self, index: Tensor) -> 'Rays':
        """Some of the rays."""
        u = None if self.u is None else self.u[:, index]
        return Rays(self.origins[:, index], self.directions[:, index], self.coarse[:, index], u)

    def points(self, depths: Depths) -> Float[Tensor, 'batch points 3']:
        """The points at `depths`, ray by ray."""
        return (self.origins[:, :, None] + depths[..., None] * self.directions[:, :, None]).flatten(1, 2)


@dataclass(frozen=True)
class RayMarcher:
    """What rays collect. `decoder` is a `TriPlaneDecoder`."""

    decoder: Callable[[Tensor], tuple[Tensor, Tensor]]
    box_warp: float
    fine_samples: int
    white_background: bool

    def __call__(self, planes: Float[Tensor, 'batch 3 channel plane_size plane_size'], rays: Rays, mask: Mask | None) -> RayOutputs:
        """Features in [-1, 1], depths and opacities; rays where `mask` is 0 need not be marched."""
        planes = rendering.merge_planes(planes)
        # A table has no row for a point that is no number.
        if cpu_fast_path(planes) and rays.directions.isfinite().all():
            masks = [None] * len(planes) if mask is None else mask
            limits = torch.stack(rays.coarse.aminmax())
            heads = [self._head(*head, limits) for head in zip(planes, rays.split(1, dim=0), masks, strict=True)]
            return tuple(torch.cat(seen) for seen in zip(*heads, strict=True))  # type: ignore[return-value]
        return self._march(lambda points: self.decoder(self._sample(planes, points)), rays, rays.coarse)

    def _sample(self, planes: Tensor, points: Tensor) -> Tensor:
        """What the planes hold at points; added up where the decoder need not do it in its gradient, for less memory."""
        sampled = rendering.sample_planes(planes, points, self.box_warp)
        return sampled if torch.is_grad_enabled() else sampled.sum(dim=1)

    def _head(self, planes: Tensor, rays: Rays, mask: Tensor | None, limits: Tensor) -> list[Tensor]:
        """One head, some rays at a time."""
        table = PlaneTable(planes, self.box_warp)

        def query(points: Tensor) -> tuple[Tensor, Tensor]:
            return self.decoder(table.look_up(points))

        if mask is None:
            return self._parts(query, rays, limits)
        # One ray at least: no rays at all would not be a batch.
        index = mask.flatten().nonzero()[:, 0] if mask.any() else torch.tensor([0])
        found = self._parts(query, rays.chosen(index), limits)
        return [seen.new_zeros(1, mask.numel(), seen.shape[2]).index_copy(1, index, seen) for seen in found]

    def _parts(self, query: Query, rays: Rays, limits: Tensor) -> list[Tensor]:
        parts = [self._march(query, part, limits) for part in rays.split(PART, dim=1)]
        return [torch.cat(seen, dim=1) for seen in zip(*parts, strict=True)]

    def _march(self, query: Query, rays: Rays, limits: Tensor) -> RayOutputs:
        """`limits` hold the least and the largest depth of all rays."""
        features, densities = _along(query, rays, rays.coarse)
        weights = rendering.interval_weights(densities, rays.coarse)
        fine = rendering.importance_depths(rays.coarse, weights, self.fine_samples, u=rays.u)
        fine_features, fine_densities = _along(query, rays, fine)

        depths, order = rendering.merge_depths(rays.coarse, fine)
        densities = torch.cat([densities, fine_densities], dim=2).gather(2, order)
        weights = rendering.interval_weights(densities, depths)
        opacity = weights.sum(dim=2, keepdim=True)
        # Weights go back to the samples' own order, so that features are neither sorted nor joined.
        per_sample = rendering.sample_weights(weights)
        of_coarse, of_fine = torch.zeros_like(per_sample).scatter(2, order, per_sample).split([rays.coarse.shape[2], fine.shape[2]], dim=2)
        total = rendering.ray_sum(features, of_coarse) + rendering.ray_sum(fine_features, of_fine)
        feature = rendering.to_colours(rendering.widen_sigmoid(total, opacity), opacity, self.white_background)
        return feature, rendering.expected_depth(weights, depths, limits)[..., None], opacity


def _along(query: Query, rays: Rays, depths: Depths) -> tuple[Float[Tensor, 'batch rays samples feature'], Depths]:
    features, densities = query(rays.points(depths))
    return features.unflatten(1, depths.shape[1:]), densities.unflatten(1, depths.shape[1:])

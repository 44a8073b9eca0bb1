"""Render rays through tri-planes: decode coarse samples, add importance samples, composite all by alpha (EG3D; FREx, Eq. 2)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from frex_arch import rendering
from frex_arch.cpu import marching
from frex_arch.rendering import Depths, Mask, PointDecoder, RayOutputs, Rays


@dataclass(frozen=True)
class RayMarcher:
    """Renders rays through tri-planes.

    `decoder` is a `TriPlaneDecoder`. The planes cover a cube of side `box_warp` around the origin. Each ray gets `fine_samples` importance
    samples in addition to its coarse ones. The background is black, or white with `white_background`.
    """

    decoder: Callable[[Tensor], tuple[Tensor, Tensor]]
    box_warp: float
    fine_samples: int
    white_background: bool

    def __call__(self, planes: Float[Tensor, 'batch 3 channel plane_size plane_size'], rays: Rays, mask: Mask | None) -> RayOutputs:
        """Return each ray's feature in about [-1, 1], its expected depth, and its opacity in [0, 1].

        Rays of pixels where `mask` is 0 may be skipped; their results are then 0. `mask` None renders all rays.
        """
        planes = rendering.merge_planes(planes)
        if marching.is_faster(planes, rays):
            return marching.march_in_chunks(self._march, self.decoder, planes, self.box_warp, rays, mask)
        return self._march(lambda points: self.decoder(self._sample_planes(planes, points)), rays, rays.coarse)

    def _sample_planes(self, planes: Tensor, points: Tensor) -> Tensor:
        """Return the features of the merged planes at points of the world, summed over planes where no gradient is recorded.

        Otherwise `TriPlaneDecoder` computes the sum as part of its first layer, which needs less memory.
        """
        sampled = rendering.sample_planes(planes, points, self.box_warp)
        return sampled if torch.is_grad_enabled() else sampled.sum(dim=1)

    def _march(self, decode: PointDecoder, rays: Rays, limits: Tensor) -> RayOutputs:
        """Render `rays` with `decode`; expected depths are clamped to the smallest and largest of all the depths in `limits`."""
        features, densities = _decode_along_rays(decode, rays, rays.coarse)
        weights = rendering.compositing_weights(densities, rays.coarse)
        fine = rendering.importance_depths(rays.coarse, weights, self.fine_samples, uniforms=rays.uniforms)
        fine_features, fine_densities = _decode_along_rays(decode, rays, fine)

        depths, order = rendering.merge_depths(rays.coarse, fine)
        densities = torch.cat([densities, fine_densities], dim=2).gather(2, order)
        weights = rendering.compositing_weights(densities, depths)
        opacity = weights.sum(dim=2, keepdim=True)
        # The weights are brought into the order of the samples, since sorting or concatenating the features would cost more.
        per_sample = rendering.sample_weights(weights)
        of_coarse, of_fine = torch.zeros_like(per_sample).scatter(2, order, per_sample).split([rays.coarse.shape[2], fine.shape[2]], dim=2)
        total = rendering.ray_sum(features, of_coarse) + rendering.ray_sum(fine_features, of_fine)
        feature = rendering.to_colours(rendering.widen_sigmoid(total, opacity), opacity, self.white_background)
        return feature, rendering.expected_depth(weights, depths, limits)[..., None], opacity


def _decode_along_rays(decode: PointDecoder, rays: Rays, depths: Depths) -> tuple[Float[Tensor, 'batch rays samples feature'], Depths]:
    """Decode the points of `rays` at `depths`; return their features and, in the shape of `depths`, their raw densities."""
    features, densities = decode(rays.points(depths))
    return features.unflatten(1, depths.shape[1:]), densities.unflatten(1, depths.shape[1:])

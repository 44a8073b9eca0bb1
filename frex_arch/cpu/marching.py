"""Volume rendering on a CPU: one head at a time, only the rays inside of its mask, in chunks that fit into the cache."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from frex_arch.cpu.plane_table import PlaneTable
from frex_arch.cpu.rules import cpu_fast_path
from frex_arch.rendering import Mask, PointDecoder, RayOutputs, Rays

# About the fastest of 256, 512, 1024 and 2048.
RAYS_PER_CHUNK = 1024

# `RayMarcher._march`: renders rays with a decoder of points. The tensor holds the least and the largest depth of all rays of the batch.
March = Callable[[PointDecoder, Rays, Tensor], RayOutputs]


def is_faster(planes: Tensor, rays: Rays) -> bool:
    """Return whether `march_in_chunks` may render `rays`."""
    # A PlaneTable has no texel for a point that is NaN or infinite.
    return cpu_fast_path(planes) and bool(rays.directions.isfinite().all())


def march_in_chunks(
    march: March,
    decoder: Callable[[Tensor], tuple[Tensor, Tensor]],
    planes: Float[Tensor, 'batch 2 channel plane_size plane_size'],
    box_warp: float,
    rays: Rays,
    mask: Mask | None,
) -> RayOutputs:
    """Render `rays` by calling `march` for one head and at most RAYS_PER_CHUNK rays at a time; only where `is_faster` allows it.

    `planes`, from `merge_planes`, cover a cube of side `box_warp` around the origin. `decoder` turns the features at points, summed over
    the planes, (1, points, channel), into features and raw densities. Rays of pixels where `mask` is 0 are skipped, and their outputs
    are 0; but the first ray of a head with an empty mask is rendered. None renders all rays.
    """
    masks = [None] * len(planes) if mask is None else mask
    limits = torch.stack(rays.coarse.aminmax())
    heads = []
    for head, head_rays, head_mask in zip(planes, rays.split(1, dim=0), masks, strict=True):
        table = PlaneTable(head, box_warp)
        heads.append(_march_head(march, _decode_from_table(table, decoder), head_rays, head_mask, limits))
    return tuple(torch.cat(outputs) for outputs in zip(*heads, strict=True))  # type: ignore[return-value]


def _decode_from_table(table: PlaneTable, decoder: Callable[[Tensor], tuple[Tensor, Tensor]]) -> PointDecoder:
    return lambda points: decoder(table.look_up(points))


def _march_head(march: March, decode: PointDecoder, rays: Rays, mask: Tensor | None, limits: Tensor) -> list[Tensor]:
    if mask is None:
        return _march_chunks(march, decode, rays, limits)
    # At least one ray, because `march` cannot render none.
    index = mask.flatten().nonzero()[:, 0] if mask.any() else torch.tensor([0])
    found = _march_chunks(march, decode, rays.select(index), limits)
    return [output.new_zeros(1, mask.numel(), output.shape[2]).index_copy(1, index, output) for output in found]


def _march_chunks(march: March, decode: PointDecoder, rays: Rays, limits: Tensor) -> list[Tensor]:
    chunks = [march(decode, chunk, limits) for chunk in rays.split(RAYS_PER_CHUNK, dim=1)]
    return [torch.cat(outputs, dim=1) for outputs in zip(*chunks, strict=True)]

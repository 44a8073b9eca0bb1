"""The equations of EG3D's volume rendering of tri-planes, as pure functions (FREx, Eq. 2).

Depth is the distance from the camera along a ray, in units of the world. Samples are points on a ray, in rising depth unless said
otherwise; an interval lies between two neighbouring samples. Densities are raw, before the softplus of `compositing_weights`.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Generator, Tensor

from frex_arch.crop import pixel_centres

Depths = Float[Tensor, 'batch rays samples']
CompositingWeights = Float[Tensor, 'batch rays intervals']
Mask = Float[Tensor, 'batch 1 size size']
# Points of the world -> features in [0, 1], (batch, points, channels), and raw densities, (batch, points).
PointDecoder = Callable[[Float[Tensor, 'batch points 3']], tuple[Tensor, Tensor]]
# Features, expected depths and opacities of rays: (batch, rays, channels), of which the last two have one.
RayOutputs = tuple[Tensor, Tensor, Tensor]

# The axes (0 x, 1 y, 2 z) of the columns and of the rows of the planes XY, XZ and ZX. EG3D meant the third to be ZY, but all its released
# models were trained like this (eg3d issue 67).
PLANE_COORDINATES = ((0, 1), (0, 2), (2, 0))


class Rays(NamedTuple):
    """Origins and unit directions of rays in the world, the depths of their coarse samples, and the `uniforms` of `importance_depths`."""

    origins: Float[Tensor, 'batch rays 3']
    directions: Float[Tensor, 'batch rays 3']
    coarse: Depths
    uniforms: Float[Tensor, 'batch rays fine'] | None

    def split(self, size: int, dim: int) -> Iterator['Rays']:
        """Yield the rays in chunks: of at most `size` images with `dim` 0, of at most `size` rays of every image with `dim` 1."""
        coarse = self.coarse.split(size, dim)
        uniforms = [None] * len(coarse) if self.uniforms is None else self.uniforms.split(size, dim)
        return map(Rays, self.origins.split(size, dim), self.directions.split(size, dim), coarse, uniforms)

    def select(self, index: Int64[Tensor, ' selected']) -> 'Rays':
        """Return the rays with these indices of every image."""
        uniforms = None if self.uniforms is None else self.uniforms[:, index]
        return Rays(self.origins[:, index], self.directions[:, index], self.coarse[:, index], uniforms)

    def points(self, depths: Depths) -> Float[Tensor, 'batch points 3']:
        """Return the points of the world at `depths`, ray by ray."""
        return (self.origins[:, :, None] + depths[..., None] * self.directions[:, :, None]).flatten(1, 2)


def pixel_rays(
    cam2world: Float[Tensor, 'batch 4 4'], intrinsics: Float[Tensor, 'batch 3 3'], size: int
) -> tuple[Float[Tensor, 'batch rays 3'], Float[Tensor, 'batch rays 3']]:
    """Return origins and unit directions, in the world, of the rays through the centres of `size` x `size` pixels, row by row."""
    v, u = torch.meshgrid(pixel_centres(size, cam2world), pixel_centres(size, cam2world), indexing='ij')
    fx, fy, skew = intrinsics[:, 0, 0, None], intrinsics[:, 1, 1, None], intrinsics[:, 0, 1, None]
    y = (v.flatten() - intrinsics[:, 1, 2, None]) / fy
    x = (u.flatten() - intrinsics[:, 0, 2, None] - skew * y) / fx
    in_camera = torch.stack([x, y, torch.ones_like(x)], dim=2)
    directions = F.normalize(in_camera @ cam2world[:, :3, :3].transpose(1, 2), dim=2)
    return cam2world[:, None, :3, 3].expand_as(directions), directions


def box_depths(
    origins: Float[Tensor, 'batch rays 3'], directions: Float[Tensor, 'batch rays 3'], side: float
) -> tuple[Float[Tensor, 'batch rays'], Float[Tensor, 'batch rays']]:
    """Return the depths at which rays enter and leave the cube of `side` around the origin; -1 and -2 for a ray that misses it."""
    # Division by a component that is 0 gives -inf and inf, which bound nothing.
    low, high = (-side / 2 - origins) / directions, (side / 2 - origins) / directions
    enter, leave = torch.minimum(low, high).amax(dim=2), torch.maximum(low, high).amin(dim=2)
    hit = enter <= leave
    return torch.where(hit, enter, -1.0), torch.where(hit, leave, -2.0)


def bounded_depths(
    origins: Float[Tensor, 'batch rays 3'], directions: Float[Tensor, 'batch rays 3'], side: float
) -> tuple[Float[Tensor, 'batch rays'], Float[Tensor, 'batch rays']]:
    """Return `box_depths` with the limits of rays that miss the cube replaced by the smallest and largest depth of the batch's other rays.

    Thus no ray ends before it starts. Where all rays miss the cube the limits are 0 and `side`.
    """
    enter, leave = box_depths(origins, directions, side)
    missed = leave < enter
    nearest = enter.masked_fill(missed, float('inf')).amin().nan_to_num(posinf=0.0)
    farthest = leave.masked_fill(missed, float('-inf')).amax().nan_to_num(neginf=side)
    return torch.where(missed, nearest, enter), torch.where(missed, farthest, leave)


def merge_planes(planes: Float[Tensor, 'batch 3 channel size size']) -> Float[Tensor, 'batch 2 channel size size']:
    """Merge tri-planes into two planes, XY and XZ, the sum of whose features is the mean of the three planes' features.

    XZ and ZX have the same two axes, so that one look-up can serve both.
    """
    xy, xz, zx = (planes / 3).unbind(dim=1)
    return torch.stack([xy, xz + zx.transpose(2, 3)], dim=1)


def plane_coordinates(points: Float[Tensor, 'batch points 3'], planes: int = 3) -> Float[Tensor, 'batch {planes} points 2']:
    """Return, for each of the first `planes` planes, the coordinates of points along its columns and its rows, in units of the world."""
    # Unbound instead of indexed with lists, whose gradient would be a slow scatter.
    axes = points.unbind(dim=2)
    return torch.stack([torch.stack([axes[column], axes[row]], dim=2) for column, row in PLANE_COORDINATES[:planes]], dim=1)


def sample_planes(
    planes: Float[Tensor, 'batch n channel height width'], points: Float[Tensor, 'batch points 3'], box_warp: float = 1.0
) -> Float[Tensor, 'batch n points channel']:
    """Return each plane's features at points, interpolated bilinearly; zero outside of the cube of side `box_warp`.

    The planes are three tri-planes, or two from `merge_planes`.
    """
    count = planes.shape[1]
    grid = plane_coordinates(points, count).flatten(0, 1)[:, None] * (2 / box_warp)
    features = F.grid_sample(planes.flatten(0, 1), grid.to(planes.dtype), mode='bilinear', padding_mode='zeros', align_corners=False)
    return features.squeeze(2).unflatten(0, (-1, count)).transpose(2, 3)


def stratified_depths(
    start: Float[Tensor, 'batch rays'],
    end: Float[Tensor, 'batch rays'],
    sample_count: int,
    *,
    jitter: Tensor | float = 0.5,
    disparity: bool = False,
) -> Depths:
    """Return the depths of `sample_count` stratified samples per ray (NeRF, Eq. 2), `jitter` (0 to 1) of a step into their bins.

    Bins are equally long in depth, or in inverse depth with `disparity`. They begin at `sample_count` equidistant points from `start` to
    `end`, so that the last sample lies beyond `end`; EG3D was trained so. With `disparity` that sample may lie behind the
    camera, unless `start` is above `end` / `sample_count`. `sample_count` is at least 2.
    """
    position = torch.linspace(0, 1, sample_count, device=start.device, dtype=start.dtype) + jitter / (sample_count - 1)
    start, end = start[:, :, None], end[:, :, None]
    if disparity:
        return 1 / ((1 - position) / start + position / end)
    return start + position * (end - start)


def compositing_weights(densities: Depths, depths: Depths) -> CompositingWeights:
    """Return the alpha-compositing weight of each interval, transmittance times alpha (NeRF, Eq. 3).

    The raw densities of an interval's two samples are averaged, then go through softplus(x - 1). Unlike in NeRF there is no infinite last
    interval, so that the weights of an empty ray sum to 0.
    """
    density = F.softplus((densities[:, :, :-1] + densities[:, :, 1:]) / 2 - 1)
    alpha = 1 - torch.exp(-density * depths.diff(dim=2))
    passed = torch.cumprod(1 - alpha + 1e-10, dim=2)
    return alpha * F.pad(passed[:, :, :-1], (1, 0), value=1.0)


def sample_weights(weights: CompositingWeights) -> Depths:
    """Turn compositing weights of intervals into weights of samples, since the value of an interval is the mean of its two samples."""
    return (F.pad(weights, (0, 1)) + F.pad(weights, (1, 0))) / 2


def widen_sigmoid(features: Tensor, weight: Tensor | float = 1.0) -> Tensor:
    """Widen the range of features from [0, 1] to [-0.001, 1.001] (mip-NeRF).

    `features` may also be sums along rays, with `weight` the sum of their weights, because the map is affine.
    """
    return features * 1.002 - 0.001 * weight


def ray_sum(values: Float[Tensor, 'batch rays samples channel'], weights: Depths) -> Float[Tensor, 'batch rays channel']:
    """Return the weighted sum of `values` along each ray; `weights` are those of samples (`sample_weights`), in the order of `values`."""
    return (weights.to(values.dtype)[:, :, None] @ values).squeeze(2)


def to_colours(
    total: Float[Tensor, 'batch rays channel'], opacity: Float[Tensor, 'batch rays 1'], white_background: bool = False
) -> Float[Tensor, 'batch rays channel']:
    """Composite features in [0, 1] over a black background, or a white one, and map them to [-1, 1]; `total` is their sum along rays."""
    return (total + 1 - opacity if white_background else total) * 2 - 1


def expected_depth(weights: CompositingWeights, depths: Depths, limits: Tensor) -> Float[Tensor, 'batch rays']:
    """Return each ray's mean depth under its compositing weights; that of an empty ray is the largest depth in `limits`.

    `limits`, depths in any shape, are those of the whole batch: all results are clamped to the smallest and largest of them.
    """
    middles = (depths[:, :, :-1] + depths[:, :, 1:]) / 2
    total = weights.sum(dim=2)
    hit = total > 0
    # Not divided by 0 even where the quotient is not used, because its gradient would be NaN.
    depth = (weights * middles).sum(dim=2) / torch.where(hit, total, 1.0)
    return torch.where(hit, depth, float('inf')).clamp(limits.min(), limits.max())


def inverse_cdf(
    bins: Float[Tensor, 'rays edges'], weights: Float[Tensor, 'rays bins'], uniforms: Float[Tensor, 'rays samples']
) -> Float[Tensor, 'rays samples']:
    """Sample a piecewise constant density by its inverse CDF (NeRF, section 5.2).

    `bins` are the edges of the pieces, `weights` their probabilities up to a factor, and `uniforms` the cumulative probabilities.
    """
    weights = weights + 1e-5
    cdf = F.pad((weights / weights.sum(dim=1, keepdim=True)).cumsum(dim=1), (1, 0))
    above = torch.searchsorted(cdf, uniforms.contiguous(), right=True)
    low, high = (above - 1).clamp(min=0), above.clamp(max=cdf.shape[1] - 1)
    span = cdf.gather(1, high) - cdf.gather(1, low)
    fraction = (uniforms - cdf.gather(1, low)) / torch.where(span < 1e-5, 1.0, span)
    left, right = bins.gather(1, low), bins.gather(1, high)
    return left + fraction * (right - left)


@torch.no_grad()
def importance_depths(
    depths: Depths, weights: CompositingWeights, sample_count: int, *, uniforms: Float[Tensor, 'batch rays fine'] | None = None
) -> Float[Tensor, 'batch rays fine']:
    """Return the depths of `sample_count` importance samples per ray, by the inverse CDF of the compositing weights of coarse samples.

    `uniforms` are random numbers in [0, 1); None spreads the samples evenly over the CDF. No gradient flows. The depths rise only where
    `uniforms` do.
    """
    batch, rays, _ = depths.shape
    flat = weights.flatten(0, 1)
    # The weights are blurred, so that samples also lie just before and behind a surface (mip-NeRF, section 3.1).
    blurred = F.avg_pool1d(F.max_pool1d(flat[:, None], 2, stride=1, padding=1), 2, stride=1)[:, 0] + 0.01
    middles = ((depths[:, :, :-1] + depths[:, :, 1:]) / 2).flatten(0, 1)
    if uniforms is None:
        uniforms = torch.linspace(0, 1, sample_count, device=depths.device, dtype=depths.dtype).expand(batch, rays, sample_count)
    return inverse_cdf(middles, blurred[:, 1:-1], uniforms.flatten(0, 1)).unflatten(0, (batch, rays))


def merge_depths(
    coarse: Float[Tensor, 'batch rays coarse'], fine: Float[Tensor, 'batch rays fine']
) -> tuple[Float[Tensor, 'batch rays merged'], Int64[Tensor, 'batch rays merged']]:
    """Return the depths of coarse and fine samples in rising order, and their indices into the concatenation of `coarse` and `fine`."""
    return torch.sort(torch.cat([coarse, fine], dim=2), dim=2)


def uniform(shape: tuple[int, ...], like: Tensor, generator: Generator | None) -> Tensor:
    """Draw uniform numbers in [0, 1) from `generator` (torch's own if None), on the device and in the dtype of `like`."""
    return torch.rand(shape, generator=generator, device=like.device, dtype=like.dtype)

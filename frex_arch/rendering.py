"""Volume rendering of tri-planes, as pure functions (EG3D; FREx, Eq. 2).

Depth is distance along the normalised ray. "Samples" are points on a ray, in order of depth unless it says otherwise.
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
# Points to features in [0, 1] and raw densities, (batch, points, channels) and (batch, points).
PointDecoder = Callable[[Float[Tensor, 'batch points 3']], tuple[Tensor, Tensor]]
# Features, depths and opacities, (batch, rays, channels), the last two with one channel.
RayOutputs = tuple[Tensor, Tensor, Tensor]

# EG3D's third plane reads (z, x) where (z, y) was meant; every released model was trained with it (eg3d issue 67).
PLANE_COORDINATES = ((0, 1), (0, 2), (2, 0))


class Rays(NamedTuple):
    """Origins and unit directions of rays, the depths of their coarse samples, and `u` for the fine ones (see `importance_depths`)."""

    origins: Float[Tensor, 'batch rays 3']
    directions: Float[Tensor, 'batch rays 3']
    coarse: Depths
    uniforms: Float[Tensor, 'batch rays fine'] | None

    def split(self, size: int, dim: int) -> Iterator['Rays']:
        """Yield the rays in chunks of at most `size` images (`dim` 0) or rays of each image (`dim` 1)."""
        coarse = self.coarse.split(size, dim)
        uniforms = [None] * len(coarse) if self.uniforms is None else self.uniforms.split(size, dim)
        return map(Rays, self.origins.split(size, dim), self.directions.split(size, dim), coarse, uniforms)

    def select(self, index: Int64[Tensor, ' selected']) -> 'Rays':
        """Return the rays at these places, the same in all images."""
        uniforms = None if self.uniforms is None else self.uniforms[:, index]
        return Rays(self.origins[:, index], self.directions[:, index], self.coarse[:, index], uniforms)

    def points(self, depths: Depths) -> Float[Tensor, 'batch points 3']:
        """Return the points at `depths`, ray by ray."""
        return (self.origins[:, :, None] + depths[..., None] * self.directions[:, :, None]).flatten(1, 2)


def pixel_rays(
    cam2world: Float[Tensor, 'batch 4 4'], intrinsics: Float[Tensor, 'batch 3 3'], size: int
) -> tuple[Float[Tensor, 'batch rays 3'], Float[Tensor, 'batch rays 3']]:
    """Return origins and unit directions of the rays through the centres of `size` x `size` pixels, row by row."""
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
    """Return the depths at which rays enter and leave the cube of `side` around the origin; (-1, -2) for a ray that misses it."""
    # A component of 0 gives -inf and inf, as it should.
    low, high = (-side / 2 - origins) / directions, (side / 2 - origins) / directions
    enter, leave = torch.minimum(low, high).amax(dim=2), torch.maximum(low, high).amin(dim=2)
    hit = enter <= leave
    return torch.where(hit, enter, -1.0), torch.where(hit, leave, -2.0)


def bounded_depths(
    origins: Float[Tensor, 'batch rays 3'], directions: Float[Tensor, 'batch rays 3'], side: float
) -> tuple[Float[Tensor, 'batch rays'], Float[Tensor, 'batch rays']]:
    """Return what `box_depths` returns, but a ray that misses the cube spans all that the others do, so that its depths increase too."""
    enter, leave = box_depths(origins, directions, side)
    missed = leave < enter
    nearest = enter.masked_fill(missed, float('inf')).amin().nan_to_num(posinf=0.0)
    farthest = leave.masked_fill(missed, float('-inf')).amax().nan_to_num(neginf=side)
    return torch.where(missed, nearest, enter), torch.where(missed, farthest, leave)


def merge_planes(planes: Float[Tensor, 'batch 3 channel size size']) -> Float[Tensor, 'batch 2 channel size size']:
    """Return two planes whose sum is the mean of the three: one look-up serves XZ and ZX, since both see the same two axes."""
    xy, xz, zx = (planes / 3).unbind(dim=1)
    return torch.stack([xy, xz + zx.transpose(2, 3)], dim=1)


def plane_coordinates(points: Float[Tensor, 'batch points 3'], planes: int = 3) -> Float[Tensor, 'batch {planes} points 2']:
    """Return the two coordinates at which each of the first `planes` planes is read: column, row."""
    # Columns, not lists of indices: the gradient of those adds up in a scatter.
    axes = points.unbind(dim=2)
    return torch.stack([torch.stack([axes[column], axes[row]], dim=2) for column, row in PLANE_COORDINATES[:planes]], dim=1)


def sample_planes(
    planes: Float[Tensor, 'batch n channel height width'], points: Float[Tensor, 'batch points 3'], box_warp: float = 1.0
) -> Float[Tensor, 'batch n points channel']:
    """Look up points of a cube of side `box_warp` in each plane, three or two `merge_planes` ones, bilinearly; zero outside."""
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
    """Return depths from `start` on, `jitter` (0 to 1) of a step into each of `samples` bins, evenly in depth or in disparity.

    The step is that of `samples` points from start to end, so the last depth lies beyond `end`: EG3D was trained so.
    """
    position = torch.linspace(0, 1, sample_count, device=start.device, dtype=start.dtype) + jitter / (sample_count - 1)
    start, end = start[:, :, None], end[:, :, None]
    if disparity:
        return 1 / ((1 - position) / start + position / end)
    return start + position * (end - start)


def compositing_weights(densities: Depths, depths: Depths) -> CompositingWeights:
    """Return how much each interval between neighbouring samples contributes to its ray; `densities` are the decoder's raw ones.

    Densities are averaged over an interval. There is no last infinite interval: a ray through nothing sums to 0.
    """
    density = F.softplus((densities[:, :, :-1] + densities[:, :, 1:]) / 2 - 1)
    alpha = 1 - torch.exp(-density * depths.diff(dim=2))
    passed = torch.cumprod(1 - alpha + 1e-10, dim=2)
    return alpha * F.pad(passed[:, :, :-1], (1, 0), value=1.0)


def sample_weights(weights: CompositingWeights) -> Depths:
    """Return the weight of each sample, whose value counts half in each of its two intervals."""
    return (F.pad(weights, (0, 1)) + F.pad(weights, (1, 0))) / 2


def widen_sigmoid(features: Tensor, weight: Tensor | float = 1.0) -> Tensor:
    """Let features in [0, 1] reach slightly beyond that range (mip-NeRF); `features` may be their sum of this `weight`."""
    return features * 1.002 - 0.001 * weight


def ray_sum(values: Float[Tensor, 'batch rays samples channel'], weights: Depths) -> Float[Tensor, 'batch rays channel']:
    """Return the weighted sum along each ray; `weights` are those of samples, in the order of `values`."""
    return (weights.to(values.dtype)[:, :, None] @ values).squeeze(2)


def to_colours(
    total: Float[Tensor, 'batch rays channel'], opacity: Float[Tensor, 'batch rays 1'], white_background: bool = False
) -> Float[Tensor, 'batch rays channel']:
    """Map sums in [0, 1] to [-1, 1]; what is not opaque becomes black, or white with `white_background`."""
    return (total + 1 - opacity if white_background else total) * 2 - 1


def expected_depth(weights: CompositingWeights, depths: Depths, limits: Tensor) -> Float[Tensor, 'batch rays']:
    """Return the mean depth of each ray, within the range of `limits`; the largest of them for a ray through nothing."""
    middles = (depths[:, :, :-1] + depths[:, :, 1:]) / 2
    total = weights.sum(dim=2)
    hit = total > 0
    # No division by 0 even where its result is not used: its gradient would be NaN.
    depth = (weights * middles).sum(dim=2) / torch.where(hit, total, 1.0)
    return torch.where(hit, depth, float('inf')).clamp(limits.min(), limits.max())


def inverse_cdf(
    bins: Float[Tensor, 'rays edges'], weights: Float[Tensor, 'rays bins'], uniforms: Float[Tensor, 'rays samples']
) -> Float[Tensor, 'rays samples']:
    """Return positions in the piecewise constant density `weights` over `bins` at the cumulative probabilities `u` (NeRF, section 5.2)."""
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
    """Return depths where the coarse `weights` say that something is, without gradient; `u` in [0, 1), or evenly spread if None."""
    batch, rays, _ = depths.shape
    flat = weights.flatten(0, 1)
    # Blurred, so that the fine samples also look just before and behind a surface (mip-NeRF, section 3.1).
    blurred = F.avg_pool1d(F.max_pool1d(flat[:, None], 2, stride=1, padding=1), 2, stride=1)[:, 0] + 0.01
    middles = ((depths[:, :, :-1] + depths[:, :, 1:]) / 2).flatten(0, 1)
    if uniforms is None:
        uniforms = torch.linspace(0, 1, sample_count, device=depths.device, dtype=depths.dtype).expand(batch, rays, sample_count)
    return inverse_cdf(middles, blurred[:, 1:-1], uniforms.flatten(0, 1)).unflatten(0, (batch, rays))


def merge_depths(
    coarse: Float[Tensor, 'batch rays coarse'], fine: Float[Tensor, 'batch rays fine']
) -> tuple[Float[Tensor, 'batch rays merged'], Int64[Tensor, 'batch rays merged']]:
    """Return the depths of both passes in rising order, and the place of each among the coarse ones followed by the fine ones."""
    return torch.sort(torch.cat([coarse, fine], dim=2), dim=2)


def uniform(shape: tuple[int, ...], like: Tensor, generator: Generator | None) -> Tensor:
    """Draw uniformly from [0, 1), on the device and in the dtype of `like`."""
    return torch.rand(shape, generator=generator, device=like.device, dtype=like.dtype)

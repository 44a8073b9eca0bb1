"""The 3D prior: EG3D's generator, the frozen structure branch of FREx (Eq. 2, figure 2).

Latent codes become tri-planes, tri-planes and a camera become a feature image by volume rendering, and super-resolution turns that into
an image. Parameters have the official names, so that a state dict of `ffhqrebalanced512-128` loads as it is.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor, nn
from torch.utils.checkpoint import checkpoint

from frex_arch import rendering
from frex_arch.camera import Camera, unpack_camera
from frex_arch.eg3d_backbone import SynthesisBlock, TriPlaneBackbone
from frex_arch.ops import MAX_CHANNELS, Noise, check_int, check_positive, resolutions
from frex_arch.ray_marching import RayMarcher
from frex_arch.rendering import Mask, Rays
from frex_arch.triplane_decoder import TriPlaneDecoder

# The official super-resolution runs in half precision and therefore clamps its activations to +-256.
SUPERRESOLUTION_CLAMP = 256.0


class Rendering(NamedTuple):
    """The volume rendering of a batch of heads.

    `feature_image` lies in [-1, 1], give or take 0.002; its first three channels are RGB. `depth` is the expected distance along each ray
    in units of the world, `opacity` the sum of the compositing weights, in [0, 1].
    """

    feature_image: Float[Tensor, 'batch channel size size']
    depth: Float[Tensor, 'batch 1 size size']
    opacity: Float[Tensor, 'batch 1 size size']

    def within(self, mask: Mask, farthest: Tensor) -> 'Rendering':
        """Return the rendering with the pixels where `mask` is 0 emptied: features and opacity 0, depth `farthest`."""
        return Rendering(self.feature_image * mask, torch.where(mask > 0, self.depth, farthest), self.opacity * mask)


class EG3DOutput(NamedTuple):
    """The images of a batch of heads in EG3D's crop.

    `image` is super-resolved, `image_raw` is the first three channels of `feature_image`; both are RGB, about [-1, 1]. `depth` is as in
    `Rendering`.
    """

    image: Float[Tensor, 'batch 3 out_size out_size']
    image_raw: Float[Tensor, 'batch 3 size size']
    feature_image: Float[Tensor, 'batch channel size size']
    depth: Float[Tensor, 'batch 1 size size']


class SuperResolution(nn.Module):
    """Turns a feature image of `out_size` / 4 pixels into an RGB image of `out_size`, modulated by the last w alone."""

    def __init__(self, in_channels: int, w_dim: int, out_size: int, channels: Sequence[int]) -> None:
        super().__init__()
        self.in_size = out_size // 4
        self.block0 = SynthesisBlock(in_channels, channels[0], w_dim, out_size // 2, 3, SUPERRESOLUTION_CLAMP)
        self.block1 = SynthesisBlock(channels[0], channels[1], w_dim, out_size, 3, SUPERRESOLUTION_CLAMP)

    def blocks(
        self, feature_image: Float[Tensor, 'batch channel size size'], ws: Float[Tensor, 'batch num_ws w']
    ) -> list[tuple[Tensor, Tensor]]:
        """Run the two blocks, and return the pair (feature, RGB image) that each one makes.

        A feature image of another size than `in_size` is resized first.
        """
        if feature_image.shape[-1] != self.in_size:
            size = (self.in_size, self.in_size)
            feature_image = F.interpolate(feature_image, size=size, mode='bilinear', align_corners=False, antialias=True)
        last = [ws[:, -1]] * 3
        first = self.block0(feature_image, feature_image[:, :3], last, noise='none')
        return [first, self.block1(*first, last, noise='none')]

    def forward(
        self, feature_image: Float[Tensor, 'batch channel size size'], ws: Float[Tensor, 'batch num_ws w']
    ) -> Float[Tensor, 'batch 3 out_size out_size']:
        return self.blocks(feature_image, ws)[-1][1]


def check_depth_range(depth_range: Sequence[float], disparity_samples: int | None) -> None:
    """Raise ValueError unless `depth_range` is two rising depths, and `disparity_samples` samples between them lie before the camera.

    `disparity_samples` is the number of samples that are evenly spaced in inverse depth, else None. The last bin then begins at the far
    limit and is as long as the others (`stratified_depths`), so that it ends behind the camera where the near limit is too small.
    """
    if len(depth_range) != 2 or not 0 <= depth_range[0] < depth_range[1] < math.inf:
        raise ValueError(f'depth_range is two rising numbers, not {list(depth_range)}')
    if disparity_samples is not None and disparity_samples * depth_range[0] <= depth_range[1]:
        least = depth_range[1] / disparity_samples
        raise ValueError(f'depth_range {list(depth_range)}: with disparity and {disparity_samples} samples it must begin above {least:g}')


class EG3D(nn.Module):
    """EG3D's tri-plane generator, untrained; without arguments it has the official FFHQ 512-128 configuration.

    The feature image is `render_size` pixels wide, each tri-plane `plane_size` texels. Each ray has `depth_samples` coarse and
    `importance_samples` fine samples. `depth_range` is the near and the far limit of rays, in units of the world; None bounds each by the
    cube of side `box_warp`, which the tri-planes cover. `disparity` spaces the coarse samples evenly in inverse depth; the near limit must
    be above the far one / `depth_samples` then, which is not checked where `depth_range` is None. The backbone has min(`channel_base` / s,
    `channel_max`) channels at size s, the two blocks of super-resolution have `superresolution_channels`, and `feature_channels` is at
    least 3. Raises ValueError for sizes, channels, sample counts and depths out of range.

    With the attribute `checkpoint_rendering`, False by default, training needs less memory (see `render`).
    """

    def __init__(
        self,
        *,
        out_size: int = 512,
        z_dim: int = 512,
        w_dim: int = 512,
        plane_size: int = 256,
        plane_channels: int = 32,
        channel_base: int = 32768,
        channel_max: int = 512,
        render_size: int = 128,
        depth_samples: int = 48,
        importance_samples: int = 48,
        depth_range: Sequence[float] | None = (2.25, 3.3),
        disparity: bool = False,
        box_warp: float = 1.0,
        white_background: bool = False,
        feature_channels: int = 32,
        superresolution_channels: Sequence[int] = (256, 128),
    ) -> None:
        super().__init__()
        resolutions(16, out_size)
        check_int('render_size', render_size, 1, 1024)
        check_int('depth_samples', depth_samples, 2, 1024)
        check_int('importance_samples', importance_samples, 2, 1024)
        check_positive('box_warp', box_warp)
        if depth_range is not None:
            check_depth_range(depth_range, depth_samples if disparity else None)
        for name, count in (('z_dim', z_dim), ('w_dim', w_dim), ('plane_channels', plane_channels), ('channel_max', channel_max)):
            check_int(name, count, 1, MAX_CHANNELS)
        check_int('feature_channels', feature_channels, 3, MAX_CHANNELS)
        if len(superresolution_channels) != 2:
            raise ValueError(f'superresolution_channels are two numbers, not {list(superresolution_channels)}')
        for count in superresolution_channels:
            check_int('superresolution_channels', count, 1, MAX_CHANNELS)
        self.render_size = render_size
        self.plane_channels = plane_channels
        self.depth_samples = depth_samples
        self.importance_samples = importance_samples
        self.depth_range = depth_range
        self.disparity = disparity
        self.box_warp = box_warp
        self.white_background = white_background
        self.feature_channels = feature_channels
        self.checkpoint_rendering = False
        self.z_dim = z_dim
        self.w_dim = w_dim
        self.backbone = TriPlaneBackbone(z_dim, w_dim, plane_size, 3 * plane_channels, channel_base, channel_max)
        self.superresolution = SuperResolution(feature_channels, w_dim, out_size, superresolution_channels)
        self.decoder = TriPlaneDecoder(plane_channels, feature_channels)
        self.num_ws = self.backbone.synthesis.num_ws

    @property
    def w_avg(self) -> Float[Tensor, ' w']:
        """The mean of the codes w that the mapping network gives, tracked while EG3D was trained."""
        return self.backbone.mapping.w_avg

    def mapping(
        self,
        z: Float[Tensor, 'batch z'],
        camera: Camera,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Float[Tensor, 'batch num_ws w']:
        """Map normally distributed `z` to latent codes, conditioned on `camera`; truncation is as in `MappingNetwork.forward`.

        The camera is usually the frontal one for all `z`, so that the identity does not depend on the view.
        """
        return self.backbone.mapping(z, camera, truncation_psi, truncation_cutoff)

    def planes(
        self, ws: Float[Tensor, 'batch num_ws w'], noise: Noise = 'const', generator: Generator | None = None
    ) -> Float[Tensor, 'batch 3 channel plane_size plane_size']:
        """Generate the tri-planes XY, XZ and ZX of a head from its latent codes; `noise` and `generator` are as in `layer_noise`."""
        return self.backbone.synthesis(ws, noise, generator).unflatten(1, (3, self.plane_channels))

    def query(
        self, planes: Float[Tensor, 'batch 3 channel height width'], points: Float[Tensor, 'batch points 3']
    ) -> tuple[Float[Tensor, 'batch points feature'], Float[Tensor, 'batch points']]:
        """Return features, in [-0.001, 1.001], and raw densities, before softplus, at points of the world."""
        features, densities = self.decoder(rendering.sample_planes(planes, points, self.box_warp).mean(dim=1))
        return rendering.widen_sigmoid(features), densities

    def render(
        self,
        planes: Float[Tensor, 'batch 3 channel plane_size plane_size'],
        camera: Camera,
        generator: Generator | None = None,
        jitter: bool = False,
        mask: Mask | None = None,
    ) -> Rendering:
        """Render tri-planes from `camera` at `render_size`; pixels where `mask` is 0 are emptied (see `Rendering.within`).

        With `jitter` the samples' depths are random, as in training: the coarse ones are drawn within their bins, the fine ones by the
        weights of the coarse ones, from `generator` where given. Without it coarse samples are the middles of the bins, and the same input
        gives the same bytes. Rendering is always in float32, since rays in bfloat16 would be off by pixels. With `checkpoint_rendering` and
        no `generator` the backward pass renders again instead of keeping activations.
        """
        with torch.autocast(camera.device.type, enabled=False):
            if self.checkpoint_rendering and generator is None and torch.is_grad_enabled():
                return Rendering(*checkpoint(self._render, planes.float(), camera.float(), None, jitter, mask, use_reentrant=False))
            return self._render(planes.float(), camera.float(), generator, jitter, mask)

    def _render(self, planes: Tensor, camera: Camera, generator: Generator | None, jitter: bool, mask: Tensor | None) -> Rendering:
        origins, directions = rendering.pixel_rays(*unpack_camera(camera), self.render_size)
        coarse = self._coarse_depths(origins, directions, generator, jitter)
        uniforms = rendering.uniform((*coarse.shape[:2], self.importance_samples), coarse, generator) if jitter else None
        march = RayMarcher(self.decoder, self.box_warp, self.importance_samples, self.white_background)
        rendered = Rendering(*map(self._image, march(planes, Rays(origins, directions, coarse, uniforms), mask)))
        return rendered if mask is None else rendered.within(mask, coarse.amax())

    def super_resolve(
        self, feature_image: Float[Tensor, 'batch channel size size'], ws: Float[Tensor, 'batch num_ws w']
    ) -> Float[Tensor, 'batch 3 out_size out_size']:
        """Turn a feature image into an RGB image, about [-1, 1], of `out_size` pixels."""
        return self.superresolution(feature_image, ws)

    def forward(
        self,
        ws: Float[Tensor, 'batch num_ws w'],
        camera: Camera,
        noise: Noise = 'const',
        generator: Generator | None = None,
        jitter: bool = False,
    ) -> EG3DOutput:
        """Generate the head with latent codes `ws` as `camera` sees it; the options are as in `planes` and `render`."""
        rendered = self.render(self.planes(ws, noise, generator), camera, generator, jitter)
        image = self.super_resolve(rendered.feature_image, ws)
        return EG3DOutput(image, rendered.feature_image[:, :3], rendered.feature_image, rendered.depth)

    def _coarse_depths(self, origins: Tensor, directions: Tensor, generator: Generator | None, jitter: bool) -> Tensor:
        if self.depth_range is None:
            start, end = rendering.bounded_depths(origins, directions, self.box_warp)
        else:
            start, end = (torch.full_like(origins[..., 0], limit) for limit in self.depth_range)
        shape = (*start.shape, self.depth_samples)
        draws = rendering.uniform(shape, start, generator) if jitter else 0.5
        return rendering.stratified_depths(start, end, self.depth_samples, jitter=draws, disparity=self.disparity)

    def _image(self, rays: Float[Tensor, 'batch rays channel']) -> Tensor:
        return rays.transpose(1, 2).unflatten(2, (self.render_size, self.render_size))

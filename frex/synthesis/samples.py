"""Compute the samples of an EG3D augmentation set: their poses, labels and images.

A sample depends on the network, the recipe and its number only, up to rounding. So a set does not depend on how the work is divided, and a
larger number of samples adds to an existing set.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from frex.data.landmarks import crop_from_ffhq, mean_head_in_world, project_points
from frex.errors import FRExError
from frex_arch import EG3D
from frex_arch.camera import Camera, ffhq_intrinsics, frontal_camera, look_at, pack_camera, recrop_camera
from frex_arch.crop import Crop

# The fraction of samples with |yaw| up to the first angle of `SamplingRecipe.yaw`.
NEAR_FRACTION = 0.8
# The steps of Roberts' R2 sequence (2018), of which any consecutive points are spread evenly over the unit square.
STEPS = (0.7548776662466927, 0.5698402909980532)


@dataclass(frozen=True)
class SamplingRecipe:
    """What the samples depend on, beside the network.

    `seed` is that of poses and latent codes. `frame` is what an image shows: FFHQ's alignment of the face, or EG3D's crop. Yaw and pitch
    are in radians, as `frex_arch.camera.look_at` takes them. Raises FRExError for values out of range.
    """

    seed: int = 0
    psi: float = 0.7
    """The truncation of w towards its mean, from 0 (the mean face) to 1 (none)."""
    frame: Literal['ffhq', 'eg3d'] = 'ffhq'
    yaw: tuple[float, float] = (0.8, 1.2)
    """(near, far): in four of five samples yaw is uniform in [-near, near], in the others near < |yaw| < far."""
    pitch: float = 0.3
    """In all samples pitch is uniform between minus this value and this value."""

    def __post_init__(self) -> None:
        near, far = self.yaw
        checks = {
            f'--seed {self.seed}: a whole number from 0 to 2^32 - 1 is needed': 0 <= self.seed < 1 << 32,
            f'--psi {self.psi}: a number from 0 to 1 is needed': 0 <= self.psi <= 1,
            f'--yaw {near} {far}: two rising angles from 0 to pi / 2 are needed': 0 <= near <= far <= np.pi / 2,
            f'--pitch {self.pitch}: an angle from 0 to 1 is needed': 0 <= self.pitch <= 1,
        }
        for message, holds in checks.items():
            if not holds:
                raise FRExError(message)


class RenderedSamples(NamedTuple):
    """Rendered images, RGB, about [-1, 1] but not clamped, and their latent codes w for each layer."""

    images: Float[Tensor, 'batch 3 out_size out_size']
    ws: Float[Tensor, 'batch num_ws w']


def draw_poses(recipe: SamplingRecipe, numbers: Sequence[int]) -> tuple[Float[np.ndarray, ' batch'], Float[np.ndarray, ' batch']]:
    """Return yaw and pitch of the samples with these `numbers`, in radians.

    As for `look_at`, yaw > 0 shows the person's left side, pitch > 0 the face from below.
    """
    start = np.random.default_rng([recipe.seed, 0]).random(2)
    spread = (start + np.asarray(numbers)[:, None] * STEPS) % 1
    near, far = recipe.yaw
    tail = (1 - NEAR_FRACTION) / 2
    yaw = np.interp(spread[:, 0], [0, tail, 1 - tail, 1], [-far, -near, near, far])
    return yaw, recipe.pitch * (2 * spread[:, 1] - 1)


def draw_z(recipe: SamplingRecipe, number: int, z_dim: int) -> Float[Tensor, ' z']:
    """Return the latent code z of sample `number`: `z_dim` standard normal numbers, on the CPU."""
    rng = np.random.default_rng([recipe.seed, 1 + number])
    return torch.from_numpy(rng.standard_normal(z_dim, dtype=np.float32))


def draw_labels(recipe: SamplingRecipe, numbers: Sequence[int]) -> tuple[Camera, Crop]:
    """Return the cameras of the samples `numbers`, which belong to EG3D's crop, and the crops that lead from the images to it."""
    yaw, pitch = (torch.from_numpy(angles) for angles in draw_poses(recipe, numbers))
    # Double precision: rounding to single removes the differences between processors' sines.
    camera = pack_camera(look_at(yaw, pitch), ffhq_intrinsics().double()[None])
    crop = torch.tensor([[1.0, 0.0, 0.0]]).repeat(len(camera), 1)
    if recipe.frame == 'ffhq':
        crop = torch.from_numpy(np.stack([crop_from_ffhq(project_points(mean_head_in_world(), label)) for label in camera.numpy()]))
    return camera.float(), crop.float()


@torch.inference_mode()
def render_samples(eg3d: EG3D, recipe: SamplingRecipe, numbers: Sequence[int]) -> RenderedSamples:
    """Render the samples with these `numbers`, at least one, as one batch on the device of `eg3d`.

    They are rendered directly in the `frame` of the recipe, so that nothing is resampled. Poses and z follow from the seed of the recipe
    and the numbers, and rendering itself draws no random numbers. Rounding may differ with the number of samples in a batch.
    """
    device = eg3d.w_avg.device
    camera, crop = draw_labels(recipe, numbers)
    z = torch.stack([draw_z(recipe, number, eg3d.z_dim) for number in numbers])
    ws = eg3d.mapping(z.to(device), frontal_camera(len(z)).to(device), recipe.psi)
    rendered = eg3d.render(eg3d.planes(ws), recrop_camera(camera, crop).to(device))
    return RenderedSamples(eg3d.super_resolve(rendered.feature_image, ws), ws)

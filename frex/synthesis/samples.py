"""The EG3D augmentation set: poses, labels and images of its samples, from (recipe, number of the sample) alone.

So a set is the same however its making is shared out, and asking for more samples adds to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from frex.data.landmarks import crop_from_ffhq, head_in_world, project
from frex.errors import FRExError
from frex_arch import EG3D
from frex_arch.camera import Camera, ffhq_intrinsics, frontal_camera, look_at, pack_camera, recrop_camera
from frex_arch.crop import Crop

NEAR_SHARE = 0.8
# Steps of the golden ratio's sequence in two dimensions (Roberts 2018): every run of it is spread evenly.
STEPS = (0.7548776662466927, 0.5698402909980532)


@dataclass(frozen=True)
class SamplingRecipe:
    """What the images follow from, beside the network. Angles are `look_at`'s, in radians."""

    seed: int = 0
    psi: float = 0.7
    """Truncation of w."""
    frame: Literal['ffhq', 'eg3d'] = 'ffhq'
    yaw: tuple[float, float] = (0.8, 1.2)
    """Four of five views lie evenly within the first to both sides, the others between it and the second."""
    pitch: float = 0.3
    """All views lie evenly within it, up and down."""

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


class Pictures(NamedTuple):
    """`images` are RGB, about [-1, 1]."""

    images: Float[Tensor, 'batch 3 out_size out_size']
    ws: Float[Tensor, 'batch num_ws w']


def draw_poses(recipe: SamplingRecipe, numbers: Sequence[int]) -> tuple[Float[np.ndarray, ' batch'], Float[np.ndarray, ' batch']]:
    """Yaw and pitch, which `look_at` takes."""
    start = np.random.default_rng([recipe.seed, 0]).random(2)
    spread = (start + np.asarray(numbers)[:, None] * STEPS) % 1
    near, far = recipe.yaw
    tail = (1 - NEAR_SHARE) / 2
    yaw = np.interp(spread[:, 0], [0, tail, 1 - tail, 1], [-far, -near, near, far])
    return yaw, recipe.pitch * (2 * spread[:, 1] - 1)


def draw_z(recipe: SamplingRecipe, number: int, z_dim: int) -> Float[Tensor, ' z']:
    """Normal draws, on the CPU."""
    rng = np.random.default_rng([recipe.seed, 1 + number])
    return torch.from_numpy(rng.standard_normal(z_dim, dtype=np.float32))


def draw_labels(recipe: SamplingRecipe, numbers: Sequence[int]) -> tuple[Camera, Crop]:
    """The cameras of EG3D's crop, and the crops that lead to it from the images."""
    yaw, pitch = (torch.from_numpy(angles) for angles in draw_poses(recipe, numbers))
    # In double precision: rounding to single hides how the processor computes a sine.
    camera = pack_camera(look_at(yaw, pitch), ffhq_intrinsics().double()[None])
    crop = torch.tensor([[1.0, 0.0, 0.0]]).repeat(len(camera), 1)
    if recipe.frame == 'ffhq':
        crop = torch.from_numpy(np.stack([crop_from_ffhq(project(head_in_world(), label)) for label in camera.numpy()]))
    return camera.float(), crop.float()


@torch.inference_mode()
def synthesize(eg3d: EG3D, recipe: SamplingRecipe, numbers: Sequence[int]) -> Pictures:
    """Render samples where `eg3d` is, straight into their frame, so that nothing is resampled.

    Without random numbers but z. Kernels may round otherwise for another number of samples at a time.
    """
    device = eg3d.w_avg.device
    camera, crop = draw_labels(recipe, numbers)
    z = torch.stack([draw_z(recipe, number, eg3d.z_dim) for number in numbers])
    ws = eg3d.mapping(z.to(device), frontal_camera(len(z)).to(device), recipe.psi)
    rendered = eg3d.render(eg3d.planes(ws), recrop_camera(camera, crop).to(device))
    return Pictures(eg3d.super_resolve(rendered.feature_image, ws), ws)

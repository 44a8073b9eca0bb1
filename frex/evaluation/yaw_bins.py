"""Read the yaw of each face from camera labels, and divide the images into bins of |yaw|."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float

from frex.data.labels import CameraLabel, check_rotations, drop_bare_names, read_labels, stack_labels
from frex.errors import FRExError
from frex.evaluation.inputs import strip_suffix
from frex_arch.camera import view_angles

Degrees = Float[np.ndarray, ' image']


@dataclass(frozen=True, eq=False)
class YawBin:
    """A part of the images: all of them, or those with `low` <= |yaw| < `high` in degrees (both NaN for all images).

    `members` marks the images that belong to it.
    """

    title: str
    members: Bool[np.ndarray, ' image']
    low: float = math.nan
    high: float = math.nan

    @property
    def count(self) -> int:
        """Return the number of images in the bin."""
        return int(self.members.sum())


def read_absolute_yaw(path: Path, names: Sequence[str]) -> Degrees:
    """Return |yaw| of the viewing direction for each image, in degrees: 0 for a face seen from the front.

    `path` is a `dataset.json` in EG3D's layout; its labels are matched to `names` without suffix. Raises FRExError where an image has no
    camera, or one that is not a rotation.
    """
    cameras = stack_labels(_by_stem(read_labels(path).cameras, path), names, f'--cameras: {path} has no label')
    check_rotations(cameras, names, f'--cameras: {path}')
    yaw, _, _ = view_angles(torch.from_numpy(cameras))
    return np.degrees(yaw.abs().numpy().astype(np.float64))


def _by_stem(cameras: Mapping[str, CameraLabel], path: Path) -> dict[str, CameraLabel]:
    """Return the labels by name without suffix; raise FRExError where two names differ in their suffix only."""
    twice = [name for name, count in Counter(map(strip_suffix, drop_bare_names(cameras))).items() if count > 1]
    if twice:
        raise FRExError(f'--cameras: {path} has two labels for {twice[0]}, which differ in their suffix alone')
    return {strip_suffix(name): camera for name, camera in cameras.items()}


def make_bins(yaw: Degrees | None, count: int, degrees: float) -> tuple[YawBin, ...]:
    """Return a bin of all `count` images and, where `yaw` (|yaw| in degrees) is known, bins of width `degrees` up to its maximum."""
    all_images = YawBin('all', np.ones(count, dtype=bool))
    if yaw is None:
        return (all_images,)
    # Floor division, not comparison with edges: rounded edges could leave the largest |yaw| outside of the last bin.
    indices = (yaw // degrees).astype(int)
    return (all_images, *(_make_bin(indices == index, degrees * index, degrees * (index + 1)) for index in range(int(indices.max()) + 1)))


def _make_bin(members: Bool[np.ndarray, ' image'], low: float, high: float) -> YawBin:
    """Return the bin of the images that `members` marks, titled `LOW-HIGH`."""
    return YawBin(f'{low:g}-{high:g}', members, low, high)

"""How far each face is turned, and the bins by which results are shown."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float

from frex.data.labels import CameraLabel, check_rotations, own_names, read_labels, rows
from frex.errors import FRExError
from frex.evaluation.inputs import stem
from frex_arch.camera import view_angles

Degrees = Float[np.ndarray, ' picture']


@dataclass(frozen=True, eq=False)
class Bin:
    """Some of the images: all, or those whose |yaw| is from `low` up to but not `high` degrees, which are nan for all."""

    title: str
    members: Bool[np.ndarray, ' picture']
    low: float = math.nan
    high: float = math.nan

    @property
    def count(self) -> int:
        """How many images."""
        return int(self.members.sum())


def read_yaw(path: Path, names: Sequence[str]) -> Degrees:
    """|yaw| of the images, from EG3D's `dataset.json`, by name without suffix; raises FRExError where one has no camera."""
    cameras = rows(_by_stem(read_labels(path).cameras, path), names, f'--cameras: {path} has no label')
    check_rotations(cameras, names, f'--cameras: {path}')
    yaw, _, _ = view_angles(torch.from_numpy(cameras))
    return np.degrees(yaw.abs().numpy().astype(np.float64))


def _by_stem(cameras: Mapping[str, CameraLabel], path: Path) -> dict[str, CameraLabel]:
    twice = [name for name, count in Counter(map(stem, own_names(cameras))).items() if count > 1]
    if twice:
        raise FRExError(f'--cameras: {path} has two labels for {twice[0]}, which differ in their suffix alone')
    return {stem(name): camera for name, camera in cameras.items()}


def bins_of(yaw: Degrees | None, count: int, degrees: float) -> tuple[Bin, ...]:
    """All `count` images, then bins of |yaw|, `degrees` wide, as far as there are images."""
    everything = Bin('all', np.ones(count, dtype=bool))
    if yaw is None:
        return (everything,)
    # Not by comparing with edges, whose products are rounded: an image could lie beyond the last.
    places = (yaw // degrees).astype(int)
    return (everything, *(_bin(places == place, degrees * place, degrees * (place + 1)) for place in range(int(places.max()) + 1)))


def _bin(members: Bool[np.ndarray, ' picture'], low: float, high: float) -> Bin:
    return Bin(f'{low:g}-{high:g}', members, low, high)

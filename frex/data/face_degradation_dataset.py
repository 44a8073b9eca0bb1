"""Aligned faces, degraded on the fly. What a sample looks like depends on (seed, epoch, visit) alone."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from frex.data.degradation import PRESETS, Degradation, FloatImage, degrade, draw
from frex.data.labels import read_labels
from frex.errors import FRExError, nearest
from frex.images import list_images, read_image, resize
from frex.options import convert
from frex_arch.camera import flip_camera
from frex_arch.crop import MEAN_CROP, flip_crop

Visit = tuple[int, int]


@dataclass(frozen=True)
class FaceDegradationOptions:
    """Keys of a `datasets` entry; the loader's own keys (workers, batch size, ...) are BasicSR's."""

    name: str
    type: str
    dataroot_gt: str
    gt_size: int
    phase: str = 'train'
    seed: int = 0
    use_hflip: bool = False
    camera_labels: str | None = None
    crop: tuple[float, float, float] = MEAN_CROP
    """From these pictures' frame to EG3D's; (1, 0, 0) for pictures that are in EG3D's crop already."""
    degradation: dict[str, Any] = field(default_factory=lambda: {'preset': 'paper'})
    num_worker_per_gpu: int = 0
    batch_size_per_gpu: int = 1
    dataset_enlarge_ratio: int = 1
    prefetch_mode: str | None = None
    num_prefetch_queue: int = 1
    pin_memory: bool = False
    persistent_workers: bool = False
    scale: int = 1


def read_degradation(options: dict[str, Any], where: str) -> Degradation:
    """A preset (`paper` unless named) with single fields replaced."""
    preset = options.get('preset', 'paper')
    if preset not in PRESETS:
        raise FRExError(f'{where}.preset: no preset {preset!r}; {nearest(str(preset), list(PRESETS))}')
    changes = {key: value for key, value in options.items() if key != 'preset'}
    return convert(Degradation, vars(PRESETS[preset]) | changes, where)


class FaceDegradationDataset(Dataset):
    """Pairs of degraded and clean faces from a folder of aligned ones.

    A sample holds `lq`, `gt` (3, gt_size, gt_size) RGB in [-1, 1]; `crop` (3); `camera` (25) where there are labels; `gt_path`,
    `lq_path` and `epoch`. It is asked for by (epoch, visit), where visits count on over an enlarged set, or by a plain index for
    validation. Raises FRExError for a missing or empty folder, a bad label file, or a picture without a label.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt = opt
        where = f'datasets.{opt.get("phase", "train")}'
        self.options = convert(FaceDegradationOptions, opt, where)
        self.degradation = read_degradation(self.options.degradation, f'{where}.degradation')
        self.paths = list_images(Path(self.options.dataroot_gt), f'{where}.dataroot_gt')
        self.cameras = self._cameras(where)

    def _cameras(self, where: str) -> dict[str, np.ndarray] | None:
        if self.options.camera_labels is None:
            return None
        cameras = read_labels(Path(self.options.camera_labels)).cameras
        missing = [path.name for path in self.paths if path.name not in cameras]
        if missing:
            raise FRExError(f'{where}.camera_labels: no camera for {len(missing)} of {len(self.paths)} pictures, first {missing[0]}')
        return cameras

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: int | Visit) -> dict[str, Tensor | str | int]:
        epoch, visit = (0, key) if isinstance(key, int) else key
        path = self.paths[visit % len(self.paths)]
        # Validation never repeats what training saw.
        rng = np.random.default_rng([self.options.seed, self.options.phase == 'train', epoch, visit])
        flip = (rng.random() < 0.5) & self.options.use_hflip

        gt = resize(read_image(path), self.options.gt_size).astype(np.float32) / 255
        gt = np.ascontiguousarray(gt[:, ::-1]) if flip else gt
        lq = degrade(gt, draw(self.degradation, rng))
        sample: dict[str, Tensor | str | int] = {'lq': to_tensor(lq), 'gt': to_tensor(gt), 'gt_path': str(path), 'lq_path': str(path)}
        sample['epoch'] = epoch

        crop = torch.tensor(self.options.crop)[None]
        sample['crop'] = (flip_crop(crop) if flip else crop)[0]
        if self.cameras is not None:
            camera = torch.from_numpy(self.cameras[path.name])[None]
            sample['camera'] = (flip_camera(camera) if flip else camera)[0]
        return sample


def to_tensor(image: FloatImage) -> Float[Tensor, '3 height width']:
    """BGR in [0, 1] to RGB in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image[:, :, ::-1].transpose(2, 0, 1))) * 2 - 1

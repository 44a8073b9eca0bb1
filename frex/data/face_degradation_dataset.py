"""The data set of aligned faces, degraded on the fly. A sample depends on (seed, epoch, visit) only."""

from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from frex.data.degradation import PRESETS, Degradation, FloatImage, degrade, draw
from frex.data.face_set import FaceSet
from frex.data.mixing import Mix
from frex.data.workers import prepare_process
from frex.errors import FRExError, nearest
from frex.images import resize
from frex.options import convert
from frex.options.data import FaceDegradationOptions

Visit = tuple[int, int]


def read_degradation(options: dict[str, Any], where: str) -> Degradation:
    """Return a preset (`options['preset']`, by default `paper`) with its other keys replaced; raise FRExError for an unknown one."""
    preset = options.get('preset', 'paper')
    if preset not in PRESETS:
        raise FRExError(f'{where}.preset: no preset {preset!r}; {nearest(str(preset), list(PRESETS))}')
    changes = {key: value for key, value in options.items() if key != 'preset'}
    return convert(Degradation, vars(PRESETS[preset]) | changes, where)


class FaceDegradationDataset(Dataset):
    """Pairs of degraded and clean faces from a folder, an lmdb or a zip of aligned faces, with those of another set mixed in.

    A sample holds `lq`, `gt` (3, gt_size, gt_size) RGB in [-1, 1]; `crop` (3); where there are labels, `camera` (25) and
    `has_camera`, false for images that have none; `gt_path`, `lq_path`; `name`, for results, which no other image of
    the set has; and `epoch`. The key of a sample is (epoch, visit), where visits go through the enlarged set, or a plain index for
    validation. Raises FRExError for missing or damaged images, a bad label file, or an image without a label.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt = opt
        where = f'datasets.{opt.get("phase", "train")}'
        self.options = convert(FaceDegradationOptions, opt, where)
        self.degradation = read_degradation(self.options.degradation, f'{where}.degradation')
        self.faces = FaceSet(self.options, where)
        mix = self.options.mix
        if mix and self.options.phase != 'train':
            raise FRExError(f'{where}.mix: only images to train on are mixed')
        self.mix = Mix(mix, self.options.seed, f'{where}.mix') if mix else None
        sets = [self.faces, *([self.mix.faces] if self.mix else [])]
        self.has_cameras = any(faces.cameras is not None for faces in sets)

    def __len__(self) -> int:
        return len(self.faces)

    def _find(self, epoch: int, visit: int) -> tuple[FaceSet, int]:
        """Return the set of images that a visit goes to, the own or the mixed one, and the index of its image."""
        mixed_in = self.mix.pick(epoch, visit) if self.mix else None
        if self.mix is None or mixed_in is None:
            return self.faces, visit % len(self.faces)
        return self.mix.faces, mixed_in

    def __getitem__(self, key: int | Visit) -> dict[str, Tensor | str | int]:
        """Return the sample of a visit (see the class), whose random numbers depend on (seed, phase, epoch, visit) only."""
        prepare_process(get_worker_info() is not None)
        epoch, visit = (0, key) if isinstance(key, int) else key
        faces, index = self._find(epoch, visit)
        # The phase is part of the seed, so that validation never repeats draws of training.
        rng = np.random.default_rng([self.options.seed, self.options.phase == 'train', epoch, visit])
        flip = rng.random() < 0.5 and faces.options.use_hflip

        name = faces.source.names[index]
        gt = resize(faces.source.image(name), self.options.gt_size).astype(np.float32) / 255
        gt = np.ascontiguousarray(gt[:, ::-1]) if flip else gt
        lq = degrade(gt, draw(self.degradation, rng))

        sample: dict[str, Tensor | str | int] = {'lq': to_tensor(lq), 'gt': to_tensor(gt), 'crop': faces.crop(index, flip), 'epoch': epoch}
        sample['gt_path'] = sample['lq_path'] = faces.source.path(name)
        sample['name'] = faces.short_names[index]
        if self.has_cameras:
            sample |= {'camera': faces.camera(index, flip), 'has_camera': torch.tensor(bool(faces.labelled[index]))}
        return sample


def to_tensor(image: FloatImage) -> Float[Tensor, '3 height width']:
    """Turn BGR in [0, 1] into RGB in [-1, 1]."""
    planes = np.stack(cv2.split(image)[::-1])
    planes *= 2
    planes -= 1
    return torch.from_numpy(planes)

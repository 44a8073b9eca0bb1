"""The data set of aligned faces, degraded on the fly. A sample depends on nothing but the images, the options, epoch and visit."""

from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from frex.data.degradation import PRESETS, DegradationRanges, FloatImage, degrade, draw_degradation
from frex.data.face_set import FaceSet
from frex.data.mixing import Mix
from frex.data.workers import prepare_process
from frex.errors import FRExError, nearest
from frex.images import Image, resize
from frex.options import convert
from frex.options.data import FaceDegradationOptions

# Epoch, and index into the repeated data set (see `VisitSampler`).
Visit = tuple[int, int]
# Distinguishes the seed of replacements from those of validation (0), training (1) and mixing (2).
REPLACEMENT = 3
# Damaged images in a row after which a training set counts as damaged. Half damaged ends within some hundred visits, 5 % never.
MOST_DAMAGED = 8


def read_degradation(options: dict[str, Any], where: str) -> DegradationRanges:
    """Return the preset that `options['preset']` names, `paper` by default, with the fields that the other keys of `options` replace.

    Raises FRExError, which starts with `where`, for an unknown preset or key, or a value of another type.
    """
    preset = options.get('preset', 'paper')
    if preset not in PRESETS:
        raise FRExError(f'{where}.preset: no preset {preset!r}; {nearest(str(preset), list(PRESETS))}')
    changes = {key: value for key, value in options.items() if key != 'preset'}
    return convert(DegradationRanges, vars(PRESETS[preset]) | changes, where)


class FaceDegradationDataset(Dataset):
    """Pairs of degraded and clean faces from a folder, an lmdb or a zip of aligned faces; images of another set can be mixed in.

    `opt` is an entry of BasicSR's `datasets`; its keys are those of `FaceDegradationOptions`. The key of a sample is (epoch, visit), or in
    validation an index. A sample has

    - `lq` and `gt`, the degraded and the clean face, (3, gt_size, gt_size), RGB in [-1, 1];
    - `crop`, (3,), from the image's frame to EG3D's crop (see `frex_arch.crop`);
    - where this set or the one mixed in has camera labels, `camera`, (25,), and `has_camera`, a bool: false for an image without a label,
      whose `camera` is the frontal one;
    - `gt_path` and `lq_path`, both the path of the clean image, as BasicSR expects;
    - `name`, unique among the images of its set, for the names of results; and `epoch`;
    - `damaged`, one line for each image of this visit that could not be read, with the reason; empty where the first could be.

    The constructor raises FRExError for invalid options, missing images, a bad label file, and an image that the label file does not
    mention. In training an image that cannot be read is replaced by that of another visit, at random but the same in each run; FRExError is
    raised where MOST_DAMAGED in a row cannot be read. In validation it is raised for any such image.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt = opt
        where = f'datasets.{opt.get("phase", "train")}'
        self.options = convert(FaceDegradationOptions, opt, where)
        self.degradation = read_degradation(self.options.degradation, f'{where}.degradation')
        self.faces = FaceSet(self.options, where)
        mix = self.options.mix
        if mix and self.options.phase != 'train':
            raise FRExError(f'{where}.mix: only the training set can have images mixed in')
        self.mix = Mix(mix, self.options.seed, f'{where}.mix') if mix else None
        self.sets = [self.faces, *([self.mix.faces] if self.mix else [])]
        self.has_cameras = any(faces.cameras is not None for faces in self.sets)

    def __len__(self) -> int:
        return len(self.faces)

    def _find(self, epoch: int, visit: int) -> tuple[FaceSet, int]:
        """Return the set that a visit takes its image from, this data set's own or the mixed one, and the index of the image in it."""
        mixed_in = self.mix.pick(epoch, visit) if self.mix else None
        if self.mix is None or mixed_in is None:
            return self.faces, visit % len(self.faces)
        return self.mix.faces, mixed_in

    def _read(self, epoch: int, visit: int) -> tuple[FaceSet, int, Image, list[str]]:
        """Return a visit's image, BGR uint8, after its set and its index in that; last the errors of images that could not be read.

        In training an image that cannot be read is replaced by that of another visit, drawn at random from seed, epoch and visit.
        FRExError is raised in training where MOST_DAMAGED in a row cannot be read, and in validation where one cannot.
        """
        damaged: list[str] = []
        while True:
            faces, index = self._find(epoch, visit)
            try:
                return faces, index, faces.source.read_image(faces.source.names[index]), damaged
            except FRExError as error:
                if self.options.phase != 'train':
                    raise
                damaged.append(str(error))
            if len(damaged) >= MOST_DAMAGED:
                raise FRExError(f'datasets.train: {len(damaged)} images in a row cannot be read, the last: {damaged[-1]}')
            # A function of seed, epoch and visit, so that a resumed run takes the same image.
            visit = int(np.random.default_rng([self.options.seed, REPLACEMENT, epoch, visit]).integers(2**31))

    def __getitem__(self, key: int | Visit) -> dict[str, Tensor | str | int]:
        """Return the sample of a visit (see the class)."""
        prepare_process(get_worker_info() is not None)
        epoch, visit = (0, key) if isinstance(key, int) else key
        faces, index, image, damaged = self._read(epoch, visit)
        # A sequence of numbers seeds one generator. With the phase in it validation never repeats random numbers of training.
        rng = np.random.default_rng([self.options.seed, self.options.phase == 'train', epoch, visit])
        flip = rng.random() < 0.5 and faces.options.use_hflip

        name = faces.source.names[index]
        gt = resize(image, self.options.gt_size).astype(np.float32) / 255
        gt = np.ascontiguousarray(gt[:, ::-1]) if flip else gt
        lq = degrade(gt, draw_degradation(self.degradation, rng))

        sample: dict[str, Tensor | str | int] = {'lq': to_tensor(lq), 'gt': to_tensor(gt), 'crop': faces.crop(index, flip), 'epoch': epoch}
        sample['gt_path'] = sample['lq_path'] = faces.source.path(name)
        sample |= {'name': faces.short_names[index], 'damaged': '\n'.join(damaged)}
        if self.has_cameras:
            sample |= {'camera': faces.camera(index, flip), 'has_camera': torch.tensor(bool(faces.labelled[index]))}
        return sample


def to_tensor(image: FloatImage) -> Float[Tensor, '3 height width']:
    """Turn an image, BGR in [0, 1], into a tensor, RGB in [-1, 1]."""
    planes = np.stack(cv2.split(image)[::-1])
    planes *= 2
    planes -= 1
    return torch.from_numpy(planes)

"""A set of images with a crop, and perhaps a camera, of each."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import quote

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from frex.data.labels import Labels, read_labels, rows
from frex.data.sources import open_source
from frex.errors import FRExError
from frex.options.data import FaceSetOptions
from frex_arch.camera import flip_camera, frontal_camera
from frex_arch.crop import MEAN_CROP, flip_crop


class FaceSet:
    """Images with a crop each, and a camera each where there are labels.

    Raises FRExError, which names the key below `where`, for images or labels that are missing or damaged.
    """

    def __init__(self, options: FaceSetOptions, where: str) -> None:
        self.options = options
        backend = options.io_backend.type if options.io_backend else None
        self.source = open_source(Path(options.dataroot_gt).expanduser(), backend, where)
        labels = read_labels(Path(options.camera_labels).expanduser()) if options.camera_labels else None
        names, where_labels = self.source.names, f'{where}.camera_labels'
        self.labelled = self._find_labelled(labels, where_labels)
        """Whether each image has a camera of its own."""
        self.cameras = self._cameras(labels) if labels else None
        self.crops = self._crops(labels, where_labels)
        if not (self.crops[:, 0] > 0).all():
            raise FRExError(f'{where}.crop: the scale of a crop must be above 0')
        self.short_names = short_names(names)

    def _find_labelled(self, labels: Labels | None, where: str) -> Bool[np.ndarray, ' images']:
        if labels is None:
            return np.zeros(len(self), dtype=bool)
        known = dict.fromkeys(labels.unlabelled, np.zeros(1, np.float32)) | dict.fromkeys(labels.cameras, np.ones(1, np.float32))
        return rows(known, self.source.names, f'{where}: no camera')[:, 0] > 0

    def _cameras(self, labels: Labels) -> Float32[np.ndarray, 'images 25']:
        frontal = dict.fromkeys(labels.unlabelled, frontal_camera()[0].numpy())
        return rows(frontal | labels.cameras, self.source.names, 'no camera')

    def _crops(self, labels: Labels | None, where: str) -> Float32[np.ndarray, 'images 3']:
        if self.options.crop is None and labels and labels.crops:
            mean = dict.fromkeys(labels.unlabelled, np.array(MEAN_CROP, np.float32))
            return rows(mean | labels.crops, self.source.names, f'{where}: no crop')
        return np.tile(np.array(self.options.crop or MEAN_CROP, dtype=np.float32), (len(self), 1))

    def __len__(self) -> int:
        return len(self.source.names)

    def crop(self, index: int, flip: bool) -> Float[Tensor, '3']:
        """Return the crop of an image, or of its mirror image."""
        crop = torch.from_numpy(self.crops[index])[None]
        return (flip_crop(crop) if flip else crop)[0]

    def camera(self, index: int, flip: bool) -> Float[Tensor, '25']:
        """Return the camera of an image, or of its mirror image; where there is no label, the frontal one in its place."""
        camera = frontal_camera() if self.cameras is None else torch.from_numpy(self.cameras[index])[None]
        return (flip_camera(camera) if flip else camera)[0]


def short_names(names: Sequence[str]) -> list[str]:
    """Return unique names without suffix and slash for the results of images: the file's own if they are unique, else with folders."""
    paths = [PurePosixPath(name) for name in names]
    for short in ([path.stem for path in paths], ['_'.join(path.with_suffix('').parts) for path in paths]):
        if max(Counter(short).values()) == 1:
            return short
    return [quote(name, safe='') for name in names]

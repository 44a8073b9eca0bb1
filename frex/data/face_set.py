"""A set of aligned faces with their crops and, where there are labels, their cameras."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import quote

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from frex.data.labels import Labels, read_labels, stack_labels
from frex.data.sources import open_source
from frex.errors import FRExError
from frex.options.data import FaceSetOptions
from frex_arch.camera import frontal_camera, mirror_camera
from frex_arch.crop import MEAN_CROP, mirror_crop


class FaceSet:
    """The images of `options.dataroot_gt`, with a crop for each and, where there are labels, a camera for each.

    `where` is the path of the options in the option file. Raises FRExError, which names the option, for images or labels that are missing
    or damaged.
    """

    def __init__(self, options: FaceSetOptions, where: str) -> None:
        self.options = options
        backend = options.io_backend.type if options.io_backend else None
        self.source = open_source(Path(options.dataroot_gt).expanduser(), backend, where)
        labels = read_labels(Path(options.camera_labels).expanduser()) if options.camera_labels else None
        names, where_labels = self.source.names, f'{where}.camera_labels'
        self.labelled = self._find_labelled(labels, where_labels)
        """Which images have a camera of their own, in the order of `source.names`."""
        self.cameras = self._cameras(labels) if labels else None
        self.crops = self._crops(labels, where_labels)
        if not (self.crops[:, 0] > 0).all():
            raise FRExError(f'{where}.crop: the scale of a crop must be above 0')
        self.short_names = make_short_names(names)

    def _find_labelled(self, labels: Labels | None, where: str) -> Bool[np.ndarray, ' images']:
        """Return which images have a label; raise FRExError for an image that the label file does not mention at all."""
        if labels is None:
            return np.zeros(len(self), dtype=bool)
        known = dict.fromkeys(labels.unlabelled, np.zeros(1, np.float32)) | dict.fromkeys(labels.cameras, np.ones(1, np.float32))
        return stack_labels(known, self.source.names, f'{where}: no camera')[:, 0] > 0

    def _cameras(self, labels: Labels) -> Float32[np.ndarray, 'images 25']:
        """Return the camera of each image, for unlabelled ones the frontal camera."""
        frontal = dict.fromkeys(labels.unlabelled, frontal_camera()[0].numpy())
        return stack_labels(frontal | labels.cameras, self.source.names, 'no camera')

    def _crops(self, labels: Labels | None, where: str) -> Float32[np.ndarray, 'images 3']:
        """Return the crop (s, t_x, t_y) of each image: `options.crop` for all if it is set, else those of the labels, else MEAN_CROP.

        Where the labels have crops, an unlabelled image without one gets MEAN_CROP; for any other image without one FRExError, which
        starts with `where`, is raised.
        """
        if self.options.crop is None and labels and labels.crops:
            mean = dict.fromkeys(labels.unlabelled, np.array(MEAN_CROP, np.float32))
            return stack_labels(mean | labels.crops, self.source.names, f'{where}: no crop')
        return np.tile(np.array(self.options.crop or MEAN_CROP, dtype=np.float32), (len(self), 1))

    def __len__(self) -> int:
        return len(self.source.names)

    def crop(self, index: int, flip: bool) -> Float[Tensor, '3']:
        """Return the crop (s, t_x, t_y) of an image, or with `flip` that of its mirror image."""
        crop = torch.from_numpy(self.crops[index])[None]
        return (mirror_crop(crop) if flip else crop)[0]

    def camera(self, index: int, flip: bool) -> Float[Tensor, '25']:
        """Return the camera of an image, or with `flip` that of its mirror image; the frontal camera for an image without a label."""
        camera = frontal_camera() if self.cameras is None else torch.from_numpy(self.cameras[index])[None]
        return (mirror_camera(camera) if flip else camera)[0]


def make_short_names(names: Sequence[str]) -> list[str]:
    """Return a unique name without a slash for each path in `names`, in their order, to name results after images.

    These are the file names without suffix if they are unique, else the paths without suffix, joined by underscores, if those are unique,
    else the percent-encoded paths with suffix. Raises ValueError where `names` is empty.
    """
    for shorten in (lambda path: path.stem, lambda path: '_'.join(path.with_suffix('').parts)):
        short = [shorten(PurePosixPath(name)) for name in names]
        if max(Counter(short).values()) == 1:
            return short
    return [quote(name, safe='') for name in names]

"""Mixing of the images of another set, e.g. EG3D's, into a data set."""

import numpy as np
import torch
from jaxtyping import Float32, Int

from frex.data.face_set import FaceSet
from frex.errors import FRExError
from frex.options.data import MixOptions
from frex_arch.camera import yaw_pitch

BIN_DEGREES = 5
# A part of the seed; 0 and 1 are those of validation and training, whose draws mixing must not change.
STREAM = 2


class Mix:
    """Decides which visits take an image of `faces`, and which one. Raises FRExError, which names the key in `where`, for bad options."""

    def __init__(self, options: MixOptions, seed: int, where: str) -> None:
        if not 0 <= options.ratio < 1:
            raise FRExError(f'{where}.ratio: {options.ratio} is not a fraction of the visits, from 0 to below 1')
        if options.balance_yaw and options.camera_labels is None:
            raise FRExError(f'{where}.camera_labels: missing; name the dataset.json of these images, or set balance_yaw: false')
        self.seed = seed
        self.ratio = options.ratio
        self.faces = FaceSet(options, where)
        self.bins = [np.arange(len(self.faces))]
        if options.balance_yaw and self.faces.cameras is not None:
            labelled = np.flatnonzero(self.faces.labelled)
            self.bins = [labelled[members] for members in yaw_bins(self.faces.cameras[labelled])]
        if not self.bins:
            raise FRExError(f'{where}.camera_labels: no image has a label; balance_yaw: false does without')

    def pick(self, epoch: int, visit: int) -> int | None:
        """Return the index of the image that a visit takes: a random bin, then a random image of it; None for one of the data set's own."""
        rng = np.random.default_rng([self.seed, STREAM, epoch, visit])
        if rng.random() >= self.ratio:
            return None
        members = self.bins[rng.integers(len(self.bins))]
        return int(members[rng.integers(len(members))])


def yaw_bins(cameras: Float32[np.ndarray, 'images 25']) -> list[Int[np.ndarray, ' members']]:
    """Return the indices of the images in each bin of 5 degrees of |yaw| that is not empty."""
    yaw, _ = yaw_pitch(torch.from_numpy(cameras))
    number = (yaw.abs().rad2deg() / BIN_DEGREES).floor().numpy()
    return [np.flatnonzero(number == each) for each in np.unique(number)]

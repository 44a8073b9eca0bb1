"""Detect faces with facexlib's RetinaFace, in copies of an image in several sizes; large copies are searched in tiles.

Its weight files are located by the manifest, downloaded where they are missing, and read without executing code.
"""

import threading
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from frex.errors import FRExError, nearest
from frex.images import Image
from frex.restore.detection.detector import DetectedFace
from frex.restore.detection.pyramid import DETECTION_SIZE, check_detection_size, may_miss_faces, search_all_sizes
from frex.weights.download import obtain_file
from frex.weights.locate import has_file
from frex.weights.state_dict import as_state, load_strict
from frex.weights.torch_file import read_torch_file

# Key of the manifest -> facexlib's name of the network. By default the first whose file is there is used.
DETECTORS = {'retinaface_resnet50': 'resnet50', 'retinaface_mobile0.25': 'mobile0.25'}


class FaceDetector:
    """A RetinaFace on a device; several threads may use it. `key` is the manifest's key of its weights.

    Images are searched in copies, of which the finest has a longer side of at most `detection_size` pixels. Larger values find smaller
    faces; the time grows with the square. None means DETECTION_SIZE pixels; where no face or a small one is found so, the image is searched
    again at its own size. Raises FRExError where it is less than 64.
    """

    def __init__(self, net: Any, key: str, detection_size: int | None = None) -> None:
        check_detection_size(detection_size)
        self.net, self.key, self.detection_size = net, key, detection_size
        # facexlib's network stores the size of the current image, so only one thread may run it at a time.
        self._lock = threading.Lock()

    @classmethod
    def from_weights(
        cls,
        weights: Path | None = None,
        device: torch.device | str = 'cpu',
        key: str | None = None,
        detection_size: int | None = None,
    ) -> 'FaceDetector':
        """Load the detector `key` of the manifest, by default the first of DETECTORS whose file is there, else the first of all.

        The folder `weights` is searched first; a missing or damaged file is downloaded. Raises FRExError, which says what to do, where that
        is not possible or not allowed, for another `key`, and for a `detection_size` below 64.
        """
        key = key or next((key for key in DETECTORS if has_file(key, weights)), next(iter(DETECTORS)))
        if key not in DETECTORS:
            raise FRExError(f'no detector is called {key!r}; {nearest(key, list(DETECTORS))}')
        path = obtain_file(key, weights)
        net = build_retinaface(DETECTORS[key], torch.device(device))
        load_strict(net, as_state(read_torch_file(path), str(path)), str(path))
        return cls(net.eval(), key, detection_size)

    @torch.inference_mode()
    def detect(self, image: Image, threshold: float = 0.8) -> list[DetectedFace]:
        """Return the faces of a BGR image whose score is above `threshold`, in order of falling score."""
        faces = self.detect_quickly(image, threshold)
        if self.detection_size is None and may_miss_faces(image.shape, [face.side for face in faces]):
            return search_all_sizes(image, partial(self._search, threshold=threshold), max(image.shape[:2]))
        return faces

    @torch.inference_mode()
    def detect_quickly(self, image: Image, threshold: float = 0.8) -> list[DetectedFace]:
        """Return faces as `detect` does, but without its second search, so that small faces in large images may be missed.

        Where `detection_size` is None, the finest copy that is searched has a longer side of at most DETECTION_SIZE pixels.
        """
        return search_all_sizes(image, partial(self._search, threshold=threshold), self.detection_size or DETECTION_SIZE)

    def _search(self, image: Image, threshold: float) -> list[DetectedFace]:
        """Run the network once, on a BGR image at its own size; return the faces whose score is above `threshold`."""
        with self._lock:
            found = self.net.detect_faces(image, threshold).astype(np.float64)
        return [DetectedFace(row[:4], float(row[4]), row[5:15].reshape(5, 2)) for row in found if np.isfinite(row).all()]


def build_retinaface(name: str, device: torch.device) -> Any:
    """Build facexlib's network `name`, one of the values of DETECTORS, on a device and with random weights."""
    # Importing facexlib takes seconds.
    from facexlib.detection.retinaface import RetinaFace

    with warnings.catch_warnings():
        # facexlib calls torchvision with an argument that is deprecated since 0.13.
        warnings.simplefilter('ignore', UserWarning)
        return RetinaFace(network_name=name, device=device)

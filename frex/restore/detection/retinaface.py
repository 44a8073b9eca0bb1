"""Detect faces in an image with facexlib's RetinaFace.

Its weight files are located by the manifest, downloaded where they are missing, and read without executing code.
"""

import threading
import warnings
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import cv2
import numpy as np
import torch
from jaxtyping import Float

from frex.errors import FRExError, nearest
from frex.images import Image
from frex.weights.download import obtain_file
from frex.weights.locate import has_file
from frex.weights.state_dict import as_state, load_strict
from frex.weights.torch_file import read_torch_file

# Key of the manifest -> facexlib's name of the network. By default the first whose file is there is used.
DETECTORS = {'retinaface_resnet50': 'resnet50', 'retinaface_mobile0.25': 'mobile0.25'}
# Images with a longer side are reduced to this many pixels before detection.
LONGEST_SIDE = 1500


class DetectedFace(NamedTuple):
    """A detected face; coordinates are pixels of the image, from its top left corner.

    `box` is (left, top, right, bottom), and `score` lies in 0..1. `landmarks` are eyes, nose and corners of the mouth; of each pair the
    one that is on the left in an upright image comes first.
    """

    box: Float[np.ndarray, '4']
    score: float
    landmarks: Float[np.ndarray, '5 2']


@runtime_checkable
class Detector(Protocol):
    """An object that detects faces in an image."""

    def detect(self, image: Image, threshold: float = ...) -> list[DetectedFace]:
        """Return the faces of a BGR image whose score is above `threshold`, in order of falling score."""


class FaceDetector:
    """A RetinaFace on a device; several threads may use it. `key` is the manifest's key of its weights.

    Images are searched in a copy whose longer side has at most `longest_side` pixels, which bounds time and memory.
    """

    def __init__(self, net: Any, key: str, longest_side: int = LONGEST_SIDE) -> None:
        self.net, self.key, self.longest_side = net, key, longest_side
        # facexlib's network stores the size of the current image, so only one thread may run it at a time.
        self._lock = threading.Lock()

    @classmethod
    def from_weights(cls, weights: Path | None = None, device: torch.device | str = 'cpu', key: str | None = None) -> 'FaceDetector':
        """Load the detector `key` of the manifest, by default the first of DETECTORS whose file is there, else the first of all.

        The folder `weights` is searched first; a missing file is downloaded. Raises FRExError where that is not possible or not allowed,
        and where the file is damaged.
        """
        key = key or next((key for key in DETECTORS if has_file(key, weights)), next(iter(DETECTORS)))
        if key not in DETECTORS:
            raise FRExError(f'no detector is called {key!r}; {nearest(key, list(DETECTORS))}')
        path = obtain_file(key, weights)
        net = build_retinaface(DETECTORS[key], torch.device(device))
        load_strict(net, as_state(read_torch_file(path), str(path)), str(path))
        return cls(net.eval(), key)

    @torch.inference_mode()
    def detect(self, image: Image, threshold: float = 0.8, longest_side: int | None = None) -> list[DetectedFace]:
        """Return the faces of a BGR image whose score is above `threshold`, in order of falling score.

        `longest_side` is that of the object by default.
        """
        height, width = image.shape[:2]
        shrink = min(1.0, (longest_side or self.longest_side) / max(height, width))
        size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
        reduced = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if shrink < 1 else image
        with self._lock:
            found = self.net.detect_faces(reduced, threshold).astype(np.float64)
        back = np.array([width / size[0], height / size[1]])
        return [
            DetectedFace((row[:4].reshape(2, 2) * back).ravel(), float(row[4]), row[5:15].reshape(5, 2) * back)
            for row in found
            if np.isfinite(row).all()
        ]


def build_retinaface(name: str, device: torch.device) -> Any:
    """Build facexlib's network with random weights."""
    # Importing facexlib takes seconds.
    from facexlib.detection.retinaface import RetinaFace

    with warnings.catch_warnings():
        # facexlib calls torchvision with an argument that is deprecated since 0.13.
        warnings.simplefilter('ignore', UserWarning)
        return RetinaFace(network_name=name, device=device)

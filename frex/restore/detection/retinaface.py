"""Finding faces in an image, with facexlib's RetinaFace. Its files are found by the manifest, read safely, and never fetched."""

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
from frex.weights.locate import FileStatus, find_file, require_file
from frex.weights.manifest import entry
from frex.weights.state_dict import as_state, load_strict
from frex.weights.torch_file import read_torch_file

# Key of the manifest -> facexlib's name of the network; the first that is there is taken.
DETECTORS = {'retinaface_resnet50': 'resnet50', 'retinaface_mobile0.25': 'mobile0.25'}
LONGEST_SIDE = 1500


class DetectedFace(NamedTuple):
    """In pixels of the image, from its top left corner: `box` is left, top, right, bottom; `score` lies in 0..1.

    `landmarks` are eyes, nose and corners of the mouth, those to the left in an upright image first.
    """

    box: Float[np.ndarray, '4']
    score: float
    landmarks: Float[np.ndarray, '5 2']


@runtime_checkable
class Detector(Protocol):
    """What finds faces in an image."""

    def detect(self, image: Image, threshold: float = ...) -> list[DetectedFace]:
        """The faces of a BGR image, the surest first."""


class FaceDetector:
    """A RetinaFace on a device, for several threads. `key` is the manifest's name of its weights."""

    def __init__(self, net: Any, key: str) -> None:
        self.net, self.key = net, key
        # facexlib's network keeps the size of the image that it looks at.
        self._lock = threading.Lock()

    @classmethod
    def from_weights(cls, weights: Path | None = None, device: torch.device | str = 'cpu', key: str | None = None) -> 'FaceDetector':
        """The detector `key` of the manifest, or the first of DETECTORS that is there; `weights` is a folder that is searched first.

        Raises FRExError, with the command that mends it, where its file is missing or damaged.
        """
        key = key or next(
            (key for key in DETECTORS if find_file(entry(key), weights).state is not FileStatus.MISSING), next(iter(DETECTORS))
        )
        if key not in DETECTORS:
            raise FRExError(f'no detector is called {key!r}; {nearest(key, list(DETECTORS))}')
        path = require_file(key, weights)
        net = build_retinaface(DETECTORS[key], torch.device(device))
        load_strict(net, as_state(read_torch_file(path), str(path)), str(path))
        return cls(net.eval(), key)

    @torch.inference_mode()
    def detect(self, image: Image, threshold: float = 0.8, longest_side: int = LONGEST_SIDE) -> list[DetectedFace]:
        """The faces of a BGR image whose score is above `threshold`, the surest first.

        They are looked for in a copy whose longer side is at most `longest_side`, which bounds time and memory.
        """
        height, width = image.shape[:2]
        shrink = min(1.0, longest_side / max(height, width))
        size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
        seen = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if shrink < 1 else image
        with self._lock:
            found = self.net.detect_faces(seen, threshold).astype(np.float64)
        back = np.array([width / size[0], height / size[1]])
        return [
            DetectedFace((row[:4].reshape(2, 2) * back).ravel(), float(row[4]), row[5:15].reshape(5, 2) * back)
            for row in found
            if np.isfinite(row).all()
        ]


def build_retinaface(name: str, device: torch.device) -> Any:
    """facexlib's network with random weights."""
    # Importing facexlib takes seconds.
    from facexlib.detection.retinaface import RetinaFace

    with warnings.catch_warnings():
        # It asks torchvision for a network in a manner of before 0.13.
        warnings.simplefilter('ignore', UserWarning)
        return RetinaFace(network_name=name, device=device)

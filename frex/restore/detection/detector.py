"""What a face detector is, and what it returns."""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from frex.images import Image


class DetectedFace(NamedTuple):
    """A detected face; coordinates are pixels of the image, from its top left corner.

    `box` is (left, top, right, bottom), and `score` lies in 0..1. `landmarks` are eyes, nose and corners of the mouth; of each pair the
    one that is on the left in an upright image comes first.
    """

    box: Float[np.ndarray, '4']
    score: float
    landmarks: Float[np.ndarray, '5 2']

    @property
    def side(self) -> float:
        """The longer side of the box in pixels."""
        return float((self.box[2:] - self.box[:2]).max())

    @property
    def centre(self) -> Float[np.ndarray, '2']:
        """The centre (x, y) of the box."""
        return (self.box[:2] + self.box[2:]) / 2

    def moved(self, scale: Float[np.ndarray, '2'], offset: Float[np.ndarray, '2']) -> 'DetectedFace':
        """Return the face with coordinates (x, y) multiplied by `scale`, then shifted by `offset`."""
        box = self.box.reshape(2, 2) * scale + offset
        return DetectedFace(box.ravel(), self.score, self.landmarks * scale + offset)


@runtime_checkable
class Detector(Protocol):
    """An object that detects faces in an image. It must allow several threads to call it at the same time.

    It may have a method `detect_quickly` with the same arguments, which may miss small faces; then this one searches the rotated copies
    of an image. It may state in `detection_size` that it searches a copy with a longer side of so many pixels; see `FaceDetector`.
    """

    def detect(self, image: Image, threshold: float = ...) -> list[DetectedFace]:
        """Return the faces of a BGR image whose score is above `threshold`, in order of falling score."""

"""Which of an image's faces are meant."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from frex.errors import FRExError
from frex.restore.detection.retinaface import DetectedFace

# Of the smaller of two boxes, from which on both show one face.
NESTED = 0.8


@dataclass(frozen=True)
class Selection:
    """Faces whose score is above `threshold` and whose box's longer side has `min_face` pixels: all, or one of them."""

    threshold: float = 0.8
    min_face: float = 0
    only: Literal['all', 'center', 'largest'] = 'all'

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < 1:
            raise FRExError(f'--det_threshold {self.threshold:g}: must be at least 0 and less than 1')
        if not self.min_face >= 0:
            raise FRExError(f'--min_face {self.min_face:g}: must be at least 0')

    def of(self, faces: list[DetectedFace], width: int, height: int) -> list[DetectedFace]:
        """Those of an image's faces that are meant, the surest first."""
        large = [face for face in faces if max(_extent(face)) >= self.min_face]
        taken = without_nested(sorted(large, key=lambda face: -face.score))
        if self.only == 'largest':
            return sorted(taken, key=lambda face: -np.prod(_extent(face)))[:1]
        if self.only == 'center':
            centre = np.array([width, height]) / 2
            return sorted(taken, key=lambda face: float(np.linalg.norm((face.box[:2] + face.box[2:]) / 2 - centre)))[:1]
        return taken


def without_nested(faces: list[DetectedFace]) -> list[DetectedFace]:
    """As they are ordered, without those that lie in an earlier one's box or around it."""
    kept: list[DetectedFace] = []
    for face in faces:
        if all(_shared(face, other) < NESTED for other in kept):
            kept.append(face)
    return kept


def _extent(face: DetectedFace) -> Float[np.ndarray, '2']:
    return np.maximum(face.box[2:] - face.box[:2], 0)


def _shared(face: DetectedFace, other: DetectedFace) -> float:
    """How much of the smaller box lies in the other."""
    overlap = np.minimum(face.box[2:], other.box[2:]) - np.maximum(face.box[:2], other.box[:2])
    smaller = min(np.prod(_extent(face)), np.prod(_extent(other)))
    return float(np.prod(np.maximum(overlap, 0)) / max(smaller, 1e-6))

"""Choose which of the detected faces of an image are used."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from frex.errors import FRExError
from frex.restore.detection.retinaface import DetectedFace

# Two boxes show the same face where at least this part of the smaller one lies in the other.
NESTED = 0.8


@dataclass(frozen=True)
class Selection:
    """The rule by which faces of an image are chosen.

    A face is used where its score is above `threshold` (at least 0, less than 1) and the longer side of its box has at least `min_face`
    pixels. `only` restricts these to the face nearest to the centre of the image, or to the largest one.
    """

    threshold: float = 0.8
    min_face: float = 0
    only: Literal['all', 'center', 'largest'] = 'all'

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < 1:
            raise FRExError(f'--det_threshold {self.threshold:g}: must be at least 0 and less than 1')
        if not self.min_face >= 0:
            raise FRExError(f'--min_face {self.min_face:g}: must be at least 0')

    def of(self, faces: list[DetectedFace], width: int, height: int) -> list[DetectedFace]:
        """Return the chosen ones of the `faces` of an image of `width` x `height` pixels, in order of falling score."""
        large = [face for face in faces if max(_box_size(face)) >= self.min_face]
        taken = remove_nested(sorted(large, key=lambda face: -face.score))
        if self.only == 'largest':
            return sorted(taken, key=lambda face: -np.prod(_box_size(face)))[:1]
        if self.only == 'center':
            centre = np.array([width, height]) / 2
            return sorted(taken, key=lambda face: float(np.linalg.norm((face.box[:2] + face.box[2:]) / 2 - centre)))[:1]
        return taken


def remove_nested(faces: list[DetectedFace]) -> list[DetectedFace]:
    """Return the faces, in their order, without those whose box lies inside or around the box of an earlier one."""
    kept: list[DetectedFace] = []
    for face in faces:
        if all(_overlap_share(face, other) < NESTED for other in kept):
            kept.append(face)
    return kept


def _box_size(face: DetectedFace) -> Float[np.ndarray, '2']:
    return np.maximum(face.box[2:] - face.box[:2], 0)


def _overlap_share(face: DetectedFace, other: DetectedFace) -> float:
    """Return which part, 0 to 1, of the smaller box lies in the other."""
    overlap = np.minimum(face.box[2:], other.box[2:]) - np.maximum(face.box[:2], other.box[:2])
    smaller = min(np.prod(_box_size(face)), np.prod(_box_size(other)))
    return float(np.prod(np.maximum(overlap, 0)) / max(smaller, 1e-6))

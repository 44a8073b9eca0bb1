"""Choose which of the detected faces of an image are used."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from frex.errors import FRExError
from frex.restore.detection.detector import DetectedFace

# Two boxes show the same face where at least this part of the smaller one lies in the other, or both share more than this part of the
# area that they cover, as in RetinaFace's own rule.
NESTED, SAME = 0.8, 0.4
# A face with a higher score is surely one; what lies in it and has less than this part of its size is a ghost.
SURE_SCORE, GHOST = 0.97, 0.5

Only = Literal['all', 'center', 'largest']


@dataclass(frozen=True)
class Selection:
    """The rule by which faces of an image are chosen.

    A face is used where its score is above `threshold` (at least 0, less than 1) and the longer side of its box has at least `min_face`
    pixels. `only` restricts these to the face nearest to the centre of the image, or to the largest one. A face on its side or upside
    down is used only where it is surely a face, unless `any_turn` is set.
    """

    threshold: float = 0.8
    min_face: float = 0
    only: Only = 'all'
    any_turn: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < 1:
            raise FRExError(f'--det_threshold {self.threshold:g}: must be at least 0 and less than 1')
        if not self.min_face >= 0:
            raise FRExError(f'--min_face {self.min_face:g}: must be at least 0')
        if self.only not in get_args(Only):
            raise FRExError(f'Selection.only {self.only!r}: must be one of {", ".join(get_args(Only))}')

    def of(self, faces: list[DetectedFace], width: int, height: int) -> list[DetectedFace]:
        """Return the chosen ones of the `faces` of an image of `width` x `height` pixels, each once and in order of falling score.

        `threshold` and `any_turn` are not applied here, but by the search that has found the faces.
        """
        large = [face for face in faces if face.side >= self.min_face]
        taken = remove_repeats(sorted(large, key=lambda face: -face.score))
        if self.only == 'largest':
            return sorted(taken, key=lambda face: -_area(face))[:1]
        if self.only == 'center':
            centre = np.array([width, height]) / 2
            return sorted(taken, key=lambda face: float(np.linalg.norm(face.centre - centre)))[:1]
        return taken


def remove_repeats(faces: list[DetectedFace]) -> list[DetectedFace]:
    """Return the faces, in their order, without those whose box lies inside or around the box of an earlier one, or nearly equals it."""
    kept: list[DetectedFace] = []
    for face in faces:
        if not any(_is_same(face, other) for other in kept):
            kept.append(face)
    return kept


def remove_ghosts(faces: list[DetectedFace]) -> list[DetectedFace]:
    """Return the faces without those in the box of a much larger one that is surely a face: detectors see faces on cheeks and foreheads."""
    sure = [face for face in faces if face.score > SURE_SCORE]
    return [face for face in faces if not any(GHOST * other.side > face.side and _nested_share(face, other) >= NESTED for other in sure)]


def _is_same(face: DetectedFace, other: DetectedFace) -> bool:
    overlap, areas = _overlap(face, other), _area(face) + _area(other)
    return _nested_share(face, other) >= NESTED or overlap > SAME * (areas - overlap)


def _nested_share(face: DetectedFace, other: DetectedFace) -> float:
    """Return which part, 0 to 1, of the smaller box lies in the other."""
    return _overlap(face, other) / max(min(_area(face), _area(other)), 1e-6)


def _overlap(face: DetectedFace, other: DetectedFace) -> float:
    """Return the area, in square pixels, that two boxes share."""
    sides = np.minimum(face.box[2:], other.box[2:]) - np.maximum(face.box[:2], other.box[:2])
    return float(np.prod(np.maximum(sides, 0)))


def _area(face: DetectedFace) -> float:
    return float(np.prod(np.maximum(face.box[2:] - face.box[:2], 0)))

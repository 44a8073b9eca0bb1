"""Finding faces in images that lie on their side or upside down, which detectors do not expect."""

import numpy as np
from jaxtyping import Float, UInt8

from frex.images import Image
from frex.restore.detection.retinaface import DetectedFace, Detector
from frex.restore.detection.selection import without_nested

# RetinaFace finds large faces in any turn, but then most often with a smaller score, a box that is wider than high, or
# landmarks that are tilted or crowded. These are what real photographs and faces have when they are upright.
SURE = 0.97
MOST_ASPECT = 1.05
LEAST_HEIGHT = 0.38
MOST_TILT = 45.0


def detect_in_any_turn(image: Image, detector: Detector, threshold: float) -> list[DetectedFace]:
    """The faces of an image. Where one is in doubt, it is searched in all turns by 90 degrees.

    Then each turn gives the faces that are surely upright in it, and the one with the most of these the doubtful ones too.
    """
    found = {0: detector.detect(image, threshold)}
    if found[0] and all(map(surely_upright, found[0])):
        return found[0]
    found |= {turns: detector.detect(turn(image, turns), threshold) for turns in (1, 2, 3)}
    # The first of equals: without good reason an image is not turned.
    best = max(found, key=lambda turns: (sum(map(surely_upright, found[turns])), bool(found[turns])))
    ranked = [
        (not surely_upright(face), turns != best, -face.score, turned_back(face, turns, image))
        for turns, faces in found.items()
        for face in faces
        if turns == best or surely_upright(face)
    ]
    return without_nested([face for *_, face in sorted(ranked, key=lambda entry: entry[:3])])


def surely_upright(face: DetectedFace) -> bool:
    """Whether score, box and landmarks are those of a face whose eyes lie above its mouth."""
    width, height = face.box[2:] - face.box[:2]
    down = face.landmarks[3:].mean(axis=0) - face.landmarks[:2].mean(axis=0)
    tilt = np.degrees(np.arctan2(abs(down[0]), down[1]))
    return bool(face.score > SURE and width < MOST_ASPECT * height and np.hypot(*down) > LEAST_HEIGHT * width and tilt < MOST_TILT)


def turn(image: Image, turns: int) -> UInt8[np.ndarray, '_ _ 3']:
    """Turned to the left, so many times by 90 degrees."""
    return np.ascontiguousarray(np.rot90(image, turns))


def turned_back(face: DetectedFace, turns: int, image: Image) -> DetectedFace:
    """A face of the turned image, in the pixels of `image`."""
    corners = points_back(face.box.reshape(2, 2), turns, image)
    box = np.concatenate([corners.min(axis=0), corners.max(axis=0)])
    return DetectedFace(box, face.score, points_back(face.landmarks, turns, image))


def points_back(points: Float[np.ndarray, 'points 2'], turns: int, image: Image) -> Float[np.ndarray, 'points 2']:
    """Points of the turned image, in the pixels of `image`."""
    height, width = image.shape[:2]
    for remaining in range(turns, 0, -1):
        points = np.stack([(width if remaining % 2 else height) - points[:, 1], points[:, 0]], axis=1)
    return points

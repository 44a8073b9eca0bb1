"""Detect faces in images that are rotated by 90, 180 or 270 degrees, although detectors are made for upright faces.

All four rotations of an image are searched where the upright search finds no face, or one that is not surely upright. Faces that are not
surely upright are taken from one rotation only. Where no face is sure, that is the image without rotation, or any with `any_turn`.
"""

import numpy as np
from jaxtyping import Float, UInt8

from frex.errors import FRExError
from frex.images import Image
from frex.restore.detection.align import face_matrix
from frex.restore.detection.detector import DetectedFace, Detector
from frex.restore.detection.selection import remove_repeats

# RetinaFace finds large faces in any rotation, but then mostly with a lower score, a box that is wider than high, or landmarks that are
# tilted or crowded. Upright faces in real photographs meet these limits: a score above SURE, a width below MOST_ASPECT of the height,
# a distance from the eyes to the mouth above LEAST_HEIGHT of the width, and a tilt below MOST_TILT degrees.
# Most faces that it sees upside down have a score below SURE.
SURE = 0.985
MOST_ASPECT = 1.05
LEAST_HEIGHT = 0.38
MOST_TILT = 45.0


def detect_in_any_rotation(image: Image, detector: Detector, threshold: float, any_turn: bool = False) -> list[DetectedFace]:
    """Return the faces of a BGR image whose score is above `threshold`, upright or not, in pixels of the image.

    Where no face is found, or one is not surely upright, the image is searched in all four rotations by 90 degrees. Then each rotation
    contributes the faces that are surely upright in it; the rotation with the most of these contributes its doubtful faces too. Where no
    rotation has a sure face, that is the image as it is: in images without a person detectors see doubtful faces in some rotation. With
    `any_turn` it is the first rotation that has a doubtful face.
    """
    found = {0: detector.detect(image, threshold)}
    if found[0] and all(map(is_surely_upright, found[0])):
        return found[0]
    # Most images are upright, so the others are not searched for small faces, which takes long.
    detect = getattr(detector, 'detect_quickly', detector.detect)
    found |= {turns: detect(rotate_left(image, turns), threshold) for turns in (1, 2, 3)}
    # Of equal rotations the first is taken: an image is not rotated without a reason.
    sure = {turns: [is_surely_upright(face) for face in faces] for turns, faces in found.items()}
    best = max(found, key=lambda turns: (sum(sure[turns]), any_turn and bool(found[turns])))
    ranked = [
        (not is_sure, turns != best, -face.score, rotate_face_back(face, turns, image))
        for turns, faces in found.items()
        for face, is_sure in zip(faces, sure[turns], strict=True)
        if turns == best or is_sure
    ]
    return remove_repeats([face for *_, face in sorted(ranked, key=lambda entry: entry[:3])])


def is_surely_upright(face: DetectedFace) -> bool:
    """Return whether score, box and landmarks meet the limits of a face whose eyes lie above its mouth.

    The landmarks must also lie within the box, in the order and at the distances of a face, and not be mirrored.
    """
    width, height = face.box[2:] - face.box[:2]
    down = face.landmarks[3:].mean(axis=0) - face.landmarks[:2].mean(axis=0)
    tilt = np.degrees(np.arctan2(abs(down[0]), down[1]))
    if not (face.score > SURE and width < MOST_ASPECT * height and np.hypot(*down) > LEAST_HEIGHT * width and tilt < MOST_TILT):
        return False
    within = (face.landmarks > face.box[:2]).all() and (face.landmarks < face.box[2:]).all()
    heights = face.landmarks @ down
    in_order = heights[:2].max() < heights[2] < heights[3:].min()
    return bool(within and in_order) and _fits_a_face(face.landmarks)


def _fits_a_face(landmarks: Float[np.ndarray, '5 2']) -> bool:
    """Return whether `face_matrix` accepts the landmarks, in pixels, as those of a face."""
    try:
        face_matrix(landmarks)
    except FRExError:
        return False
    return True


def rotate_left(image: Image, turns: int) -> UInt8[np.ndarray, '_ _ 3']:
    """Return the image rotated to the left by `turns` times 90 degrees."""
    return np.ascontiguousarray(np.rot90(image, turns))


def rotate_face_back(face: DetectedFace, turns: int, image: Image) -> DetectedFace:
    """Convert a face of the rotated image to pixels of `image`, from which it was rotated by `turns`."""
    corners = rotate_points_back(face.box.reshape(2, 2), turns, image)
    box = np.concatenate([corners.min(axis=0), corners.max(axis=0)])
    return DetectedFace(box, face.score, rotate_points_back(face.landmarks, turns, image))


def rotate_points_back(points: Float[np.ndarray, 'points 2'], turns: int, image: Image) -> Float[np.ndarray, 'points 2']:
    """Convert points (N, 2) of the rotated image to pixels of `image`, from which it was rotated by `turns`."""
    height, width = image.shape[:2]
    for remaining in range(turns, 0, -1):
        points = np.stack([(width if remaining % 2 else height) - points[:, 1], points[:, 0]], axis=1)
    return points

"""Crops and cameras from five landmarks: eyes, nose, corners of the mouth; left before right as seen in the image.

Landmarks in images are in image widths.
"""

import numpy as np
from jaxtyping import Float

from frex_arch.camera import FFHQ_RADIUS

# The landmarks of Deep3DFaceRecon's mean head, in its units: x to image right, y up, z out of the face.
MEAN_HEAD = np.array(
    [
        [-0.31148657, 0.29036078, 0.13377953],
        [0.30979887, 0.28972036, 0.13179526],
        [0.0032535, -0.04617932, 0.55244243],
        [-0.25216928, -0.38133916, 0.22405732],
        [0.2484662, -0.38128236, 0.22235769],
    ]
)
# One of those units is 300 of the 700 pixels of EG3D's crop, whose centre shows their origin.
CROP_UNIT = 300 / 700
# Unit and origin of the mean head in EG3D's world. EG3D's labels were made with a unit of 0.27; then the cameras were moved to
# FFHQ_RADIUS from the world's origin, while the images stayed, which scales the head.
_LABEL_UNIT = 0.27
WORLD_ORIGIN = np.array([0.0, 0.006, 0.161])
WORLD_UNIT = _LABEL_UNIT * (FFHQ_RADIUS - WORLD_ORIGIN[2]) / FFHQ_RADIUS

Landmarks = Float[np.ndarray, '5 2']


def mean_head_in_world() -> Float[np.ndarray, '5 3']:
    """Return the mean head's landmarks in EG3D's world."""
    return WORLD_UNIT * MEAN_HEAD + WORLD_ORIGIN


def project_points(points: Float[np.ndarray, 'points 3'], camera: Float[np.ndarray, '25']) -> Float[np.ndarray, 'points 2']:
    """Project points of the world into the image of a camera, in image widths."""
    cam2world, intrinsics = camera[:16].reshape(4, 4), camera[16:].reshape(3, 3)
    seen = (points - cam2world[:3, 3]) @ cam2world[:3, :3]
    return (seen / seen[:, 2:] @ intrinsics.T)[:, :2]


def crop_to_eg3d(landmarks: Landmarks) -> Float[np.ndarray, '3']:
    """Return the crop from the image with `landmarks` to EG3D's, as EG3D's own tool makes it (weak perspective).

    Raises ValueError where all landmarks are at one point.
    """
    unit, origin = fit_head(landmarks)
    scale = CROP_UNIT / unit
    return np.array([scale, *(0.5 - scale * origin)])


def fit_head(landmarks: Landmarks, head: Float[np.ndarray, '5 3'] = MEAN_HEAD) -> tuple[float, Float[np.ndarray, '2']]:
    """Fit `head` to landmarks in weak perspective, as EG3D's own tool does; return the length of its unit and its origin in the image.

    Raises ValueError where all landmarks are at one point.
    """
    rows, *_ = np.linalg.lstsq(np.hstack([head, np.ones((5, 1))]), landmarks, rcond=None)
    unit = float(np.linalg.norm(rows[:3], axis=0).mean())
    if not unit > 1e-6:
        raise ValueError('the five landmarks lie in one place')
    return unit, rows[3]


def crop_from_ffhq(landmarks: Landmarks) -> Float[np.ndarray, '3']:
    """Return the crop from the FFHQ alignment of a face to an image that shows it upright with `landmarks`.

    It is FFHQ's square, which follows from eyes and mouth, without its rotation.
    """
    eyes, mouth = landmarks[:2].mean(axis=0), landmarks[3:].mean(axis=0)
    across, down = landmarks[1] - landmarks[0], mouth - eyes
    size = 2 * max(2.0 * np.hypot(*across), 1.8 * np.hypot(*down))
    return np.array([size, *(eyes + 0.1 * down - size / 2)])


def mirror_landmarks(landmarks: Landmarks) -> Landmarks:
    """Return the landmarks of the face mirrored left to right."""
    return (landmarks * (-1, 1) + (1, 0))[[1, 0, 2, 4, 3]]

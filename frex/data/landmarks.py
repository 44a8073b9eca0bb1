"""Crops from five facial landmarks, and the landmarks of a mean head in EG3D's world.

The five are, in this order: left eye, right eye, tip of the nose, left and right corner of the mouth, where left is the left of the image
(the person's right). Coordinates in images are in image widths from the upper left corner, x right and y down.
"""

import numpy as np
from jaxtyping import Float

from frex_arch.camera import FFHQ_RADIUS

# The five landmarks of Deep3DFaceRecon's mean head, in its units: x to the right of a frontal image, y up, z out of the face.
MEAN_HEAD = np.array(
    [
        [-0.31148657, 0.29036078, 0.13377953],
        [0.30979887, 0.28972036, 0.13179526],
        [0.0032535, -0.04617932, 0.55244243],
        [-0.25216928, -0.38133916, 0.22405732],
        [0.2484662, -0.38128236, 0.22235769],
    ]
)
# In EG3D's crop one of those units is 300 of 700 pixels long, and their origin is at the crop's centre.
CROP_UNIT = 300 / 700
# Length of the mean head's unit, and its origin, in EG3D's world. EG3D made its labels with a unit of 0.27 and then moved all cameras to a
# distance of FFHQ_RADIUS from the world's origin without changing the images, which scales the head.
_LABEL_UNIT = 0.27
WORLD_ORIGIN = np.array([0.0, 0.006, 0.161])
WORLD_UNIT = _LABEL_UNIT * (FFHQ_RADIUS - WORLD_ORIGIN[2]) / FFHQ_RADIUS

Landmarks = Float[np.ndarray, '5 2']


def mean_head_in_world() -> Float[np.ndarray, '5 3']:
    """Return the five landmarks of the mean head in EG3D's world (see `frex_arch.camera`)."""
    return WORLD_UNIT * MEAN_HEAD + WORLD_ORIGIN


def project_points(points: Float[np.ndarray, 'points 3'], camera: Float[np.ndarray, '25']) -> Float[np.ndarray, 'points 2']:
    """Project points of the world into the image of a camera; the result is in image widths."""
    cam2world, intrinsics = camera[:16].reshape(4, 4), camera[16:].reshape(3, 3)
    seen = (points - cam2world[:3, 3]) @ cam2world[:3, :3]
    return (seen / seen[:, 2:] @ intrinsics.T)[:, :2]


def crop_to_eg3d(landmarks: Landmarks) -> Float[np.ndarray, '3']:
    """Return the crop (s, t_x, t_y) from an image that shows a face upright, with these `landmarks`, to EG3D's crop of that face.

    It is that of EG3D's own tool, which fits the mean head in weak perspective. Raises ValueError where all landmarks coincide.
    """
    unit, origin = fit_head(landmarks)
    scale = CROP_UNIT / unit
    return np.array([scale, *(0.5 - scale * origin)])


def fit_head(landmarks: Landmarks, head: Float[np.ndarray, '5 3'] = MEAN_HEAD) -> tuple[float, Float[np.ndarray, '2']]:
    """Fit the 3D landmarks `head` to `landmarks` by least squares with an affine camera, as EG3D's own tool does for weak perspective.

    The head may be turned; its rotation is not returned. Returns the length of the head's unit in the image, the mean over both image axes,
    and the position of its origin, both in the unit of `landmarks`. Raises ValueError where all landmarks coincide.
    """
    rows, *_ = np.linalg.lstsq(np.hstack([head, np.ones((5, 1))]), landmarks, rcond=None)
    unit = float(np.linalg.norm(rows[:3], axis=0).mean())
    if not unit > 1e-6:
        raise ValueError('the five landmarks lie in one place')
    return unit, rows[3]


def crop_from_ffhq(landmarks: Landmarks) -> Float[np.ndarray, '3']:
    """Return the crop (s, t_x, t_y) from the FFHQ alignment of a face to an image that shows it upright, with these `landmarks`.

    It is the square of FFHQ's alignment, computed from eyes and mouth, without the alignment's rotation.
    """
    eyes, mouth = landmarks[:2].mean(axis=0), landmarks[3:].mean(axis=0)
    across, down = landmarks[1] - landmarks[0], mouth - eyes
    size = 2 * max(2.0 * np.hypot(*across), 1.8 * np.hypot(*down))
    return np.array([size, *(eyes + 0.1 * down - size / 2)])


def mirror_landmarks(landmarks: Landmarks) -> Landmarks:
    """Return the landmarks of the image mirrored left to right, in the order that they have in the mirrored image."""
    return (landmarks * (-1, 1) + (1, 0))[[1, 0, 2, 4, 3]]

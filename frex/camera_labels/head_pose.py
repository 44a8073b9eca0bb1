"""Compute the camera of a face from its five landmarks, by fitting the mean head of `frex.data.landmarks`.

Five points do not determine the pose well: a smile moves the corners of the mouth much further than a few degrees of pitch do.
Therefore the fit includes what is known of heads, as Gaussian priors on pitch, place, size and mouth.
"""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float
from scipy.optimize import least_squares  # type: ignore[import-untyped]

from frex.data.landmarks import MEAN_HEAD, WORLD_ORIGIN, WORLD_UNIT, Landmarks
from frex_arch.camera import FFHQ_FOCAL, FFHQ_RADIUS

Rotation = Float[np.ndarray, '3 3']

INTRINSICS = np.array([[FFHQ_FOCAL, 0, 0.5], [0, FFHQ_FOCAL, 0.5], [0, 0, 1]])
# The rotation from world to camera axes when the head is upright and seen from the front.
FRONTAL = np.diag([1.0, -1.0, -1.0])
DISTANCE = FFHQ_RADIUS - WORLD_ORIGIN[2]
# The mean head is made symmetric, so that a mirrored face has the mirrored camera.
_MIRRORED = MEAN_HEAD[[1, 0, 2, 4, 3]] * (-1, 1, 1)
HEAD = WORLD_UNIT * (MEAN_HEAD + _MIRRORED) / 2

# Standard deviation of a landmark, in image widths: two pixels of 512.
LANDMARK = 2 / 512
# Standard deviation of the pitch in FFHQ, in radians, as in pi-GAN and EG3D.
PITCH = 0.155
# Standard deviations of the head's place in EG3D's crop, in image widths, and of the logarithm of its size; the crop centres and scales it.
SHIFT = 0.03
SIZE = 0.05
# Standard deviations of how far the corners of the mouth rise and move outwards, in world units.
RISE = 0.04
WIDENING = 0.025

# A fit fails where the sum of the squared deviations is larger: all ten coordinates are off by five standard deviations each.
MAX_DEVIATION = 250.0


class HeadPose(NamedTuple):
    """The parameters of the fit: a head in front of EG3D's camera.

    `turn` is a rotation vector, `shift` moves the head in the image, `size` is the logarithm of its scale. The corners of the mouth
    rise by `rise` and move outwards by `widening`.
    """

    turn: Float[np.ndarray, '3']
    shift: Float[np.ndarray, '2']
    size: float
    rise: float
    widening: float


def solve_camera(landmarks: Landmarks) -> Float[np.ndarray, '25']:
    """Return the camera of a face in EG3D's crop, in the layout of FFHQ's labels; `landmarks` are in image widths.

    The intrinsics are FFHQ's, and the camera lies FFHQ_RADIUS from the origin. The fit minimises the squared deviations of landmarks,
    pitch, place, size and mouth from those of the mean head, each divided by its variance. It starts at the pose of OpenCV's SQPnP and
    at the frontal pose. Raises ValueError where the landmarks fit no face that looks towards the camera.
    """
    if not np.isfinite(landmarks).all() or np.ptp(landmarks, axis=0).min() < 10 * LANDMARK:
        raise ValueError('the five landmarks lie in one place, or in one line')
    fits = [least_squares(_deviations, start, args=(landmarks,), method='lm') for start in (_start(landmarks), np.zeros(8))]
    best = min(fits, key=lambda fit: fit.cost)
    pose = _unpack(best.x)
    rotation = _rotation(pose.turn)
    if not 2 * best.cost < MAX_DEVIATION or rotation[2, 2] > 0:
        raise ValueError("the five landmarks fit no face in EG3D's crop")
    return _camera(rotation, pose.shift)


def _start(landmarks: Landmarks) -> Float[np.ndarray, '8']:
    """Return OpenCV's pose of the mean head as parameters; zeros where it finds none in front of the camera."""
    found, turn, place = cv2.solvePnP(HEAD, np.ascontiguousarray(landmarks), INTRINSICS, None, flags=cv2.SOLVEPNP_SQPNP)
    if not found or not np.isfinite(place).all() or place[2, 0] <= 0:
        return np.zeros(8)
    turn, _ = cv2.Rodrigues(cv2.Rodrigues(turn)[0] @ FRONTAL)
    shift = FFHQ_FOCAL * place[:2, 0] / place[2, 0]
    return np.concatenate([turn[:, 0], shift, [np.log(DISTANCE / place[2, 0]), 0.0, 0.0]])


def _unpack(vector: Float[np.ndarray, '8']) -> HeadPose:
    """Return the parameters by name."""
    return HeadPose(vector[:3], vector[3:5], *vector[5:])


def _rotation(turn: Float[np.ndarray, '3']) -> Rotation:
    """Return the rotation from world to camera of a rotation vector."""
    matrix, _ = cv2.Rodrigues(turn)
    return matrix @ FRONTAL


def _project_head(pose: HeadPose) -> Landmarks:
    """Return the landmarks of the mean head with this pose, in image widths."""
    head = HEAD.copy()
    head[3:, 1] += pose.rise
    head[3:, 0] += (-pose.widening, pose.widening)
    place = DISTANCE * np.array([*(pose.shift / FFHQ_FOCAL), 1.0])
    points = np.exp(pose.size) * head @ _rotation(pose.turn).T + place
    return FFHQ_FOCAL * points[:, :2] / points[:, 2:] + 0.5


def _deviations(vector: Float[np.ndarray, '8'], landmarks: Landmarks) -> Float[np.ndarray, '16']:
    """Return all deviations from the mean head, each divided by its standard deviation."""
    pose = _unpack(vector)
    pitch = np.arcsin(np.clip(-_rotation(pose.turn)[2, 1], -1, 1))
    missed = (_project_head(pose) - landmarks).ravel() / LANDMARK
    return np.array([*missed, pitch / PITCH, *(pose.shift / SHIFT), pose.size / SIZE, pose.rise / RISE, pose.widening / WIDENING])


def _camera(rotation: Rotation, shift: Float[np.ndarray, '2']) -> Float[np.ndarray, '25']:
    """Return the camera that sees the head at `shift` in the image, at FFHQ_RADIUS from the origin."""
    towards = np.array([*(shift / FFHQ_FOCAL), 1.0]) @ rotation
    towards /= np.linalg.norm(towards)
    # |WORLD_ORIGIN - distance * towards| = FFHQ_RADIUS, the larger root.
    along = WORLD_ORIGIN @ towards
    distance = along + np.sqrt(along**2 + FFHQ_RADIUS**2 - WORLD_ORIGIN @ WORLD_ORIGIN)
    cam2world = np.eye(4)
    cam2world[:3, :3], cam2world[:3, 3] = rotation.T, WORLD_ORIGIN - distance * towards
    return np.concatenate([cam2world.ravel(), INTRINSICS.ravel()])

"""The camera of a face from its five landmarks.

They are compared with the mean head of `frex.data.landmarks`. Where five points leave the pose open, what is known of heads
decides: a smile moves the corners of the mouth much further than a few degrees of pitch do.
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
# From the mean head, upright and seen from the front, to camera axes.
FRONTAL = np.diag([1.0, -1.0, -1.0])
DISTANCE = FFHQ_RADIUS - WORLD_ORIGIN[2]
# Left and right alike, so that a mirrored face has the mirrored camera.
_MIRRORED = MEAN_HEAD[[1, 0, 2, 4, 3]] * (-1, 1, 1)
HEAD = WORLD_UNIT * (MEAN_HEAD + _MIRRORED) / 2

# Standard deviations. Of a landmark, in image widths: two pixels of 512.
LANDMARK = 2 / 512
# Of FFHQ's pitch, in radians, as pi-GAN and EG3D take it.
PITCH = 0.155
# Of the head's place in EG3D's crop, in image widths, and of its size; that crop centres and scales what it shows.
SHIFT = 0.03
SIZE = 0.05
# By which the corners of the mouth rise, and each moves outwards; in the world.
RISE = 0.04
WIDENING = 0.025

# A fit whose squared deviations sum to more than this is none: all ten coordinates off by five deviations each.
MOST_DEVIATION = 250.0


class HeadPose(NamedTuple):
    """A head before EG3D's camera: `turn` is a rotation vector, `shift` moves it in the image, `size` is the logarithm of its scale."""

    turn: Float[np.ndarray, '3']
    shift: Float[np.ndarray, '2']
    size: float
    rise: float
    widening: float


def solve_camera(landmarks: Landmarks) -> Float[np.ndarray, '25']:
    """The camera, as FFHQ's labels have it, of a face in EG3D's crop with `landmarks` in image widths.

    The intrinsics are FFHQ's and the position lies FFHQ_RADIUS from the origin. Minimises the squared deviations of
    landmarks, pitch, place, size and mouth from the mean head's, each over its variance, from the pose of OpenCV's SQPnP on.
    Raises ValueError where the landmarks fit no face that looks towards the camera.
    """
    if not np.isfinite(landmarks).all() or np.ptp(landmarks, axis=0).min() < 10 * LANDMARK:
        raise ValueError('the five landmarks lie in one place, or in one line')
    fits = [least_squares(_deviations, start, args=(landmarks,), method='lm') for start in (_start(landmarks), np.zeros(8))]
    best = min(fits, key=lambda fit: fit.cost)
    pose = _unpack(best.x)
    rotation = _rotation(pose.turn)
    if not 2 * best.cost < MOST_DEVIATION or rotation[2, 2] > 0:
        raise ValueError("the five landmarks fit no face in EG3D's crop")
    return _camera(rotation, pose.shift)


def _start(landmarks: Landmarks) -> Float[np.ndarray, '8']:
    """OpenCV's pose of the mean head; zeros where it finds none before the camera."""
    found, turn, place = cv2.solvePnP(HEAD, np.ascontiguousarray(landmarks), INTRINSICS, None, flags=cv2.SOLVEPNP_SQPNP)
    if not found or not np.isfinite(place).all() or place[2, 0] <= 0:
        return np.zeros(8)
    turn, _ = cv2.Rodrigues(cv2.Rodrigues(turn)[0] @ FRONTAL)
    shift = FFHQ_FOCAL * place[:2, 0] / place[2, 0]
    return np.concatenate([turn[:, 0], shift, [np.log(DISTANCE / place[2, 0]), 0.0, 0.0]])


def _unpack(vector: Float[np.ndarray, '8']) -> HeadPose:
    return HeadPose(vector[:3], vector[3:5], *vector[5:])


def _rotation(turn: Float[np.ndarray, '3']) -> Rotation:
    """World to camera."""
    matrix, _ = cv2.Rodrigues(turn)
    return matrix @ FRONTAL


def _seen(pose: HeadPose) -> Landmarks:
    head = HEAD.copy()
    head[3:, 1] += pose.rise
    head[3:, 0] += (-pose.widening, pose.widening)
    place = DISTANCE * np.array([*(pose.shift / FFHQ_FOCAL), 1.0])
    points = np.exp(pose.size) * head @ _rotation(pose.turn).T + place
    return FFHQ_FOCAL * points[:, :2] / points[:, 2:] + 0.5


def _deviations(vector: Float[np.ndarray, '8'], landmarks: Landmarks) -> Float[np.ndarray, '16']:
    """Of all that is known, each in its standard deviation."""
    pose = _unpack(vector)
    pitch = np.arcsin(np.clip(-_rotation(pose.turn)[2, 1], -1, 1))
    missed = (_seen(pose) - landmarks).ravel() / LANDMARK
    return np.array([*missed, pitch / PITCH, *(pose.shift / SHIFT), pose.size / SIZE, pose.rise / RISE, pose.widening / WIDENING])


def _camera(rotation: Rotation, shift: Float[np.ndarray, '2']) -> Float[np.ndarray, '25']:
    """With `shift` of the head in the image, at FFHQ_RADIUS from the origin."""
    towards = np.array([*(shift / FFHQ_FOCAL), 1.0]) @ rotation
    towards /= np.linalg.norm(towards)
    # |WORLD_ORIGIN - distance * towards| = FFHQ_RADIUS, the larger root.
    along = WORLD_ORIGIN @ towards
    distance = along + np.sqrt(along**2 + FFHQ_RADIUS**2 - WORLD_ORIGIN @ WORLD_ORIGIN)
    cam2world = np.eye(4)
    cam2world[:3, :3], cam2world[:3, 3] = rotation.T, WORLD_ORIGIN - distance * towards
    return np.concatenate([cam2world.ravel(), INTRINSICS.ravel()])

"""Compute the camera of a face in EG3D's crop from its five landmarks there, by fitting the mean head of `frex.data.landmarks`.

Landmarks are in widths of the crop, from its upper left corner.

Five points do not determine the pose well: a smile moves the corners of the mouth much further than a few degrees of pitch do. Therefore
the fit has Gaussian priors on the pitch, position, size and mouth of the head.
"""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float

from frex.data.landmarks import MEAN_HEAD, WORLD_ORIGIN, WORLD_UNIT, Landmarks
from frex_arch.camera import FFHQ_FOCAL, FFHQ_RADIUS

Rotation = Float[np.ndarray, '3 3']

INTRINSICS = np.array([[FFHQ_FOCAL, 0, 0.5], [0, FFHQ_FOCAL, 0.5], [0, 0, 1]])
# The rotation from world axes to camera axes of an upright head that is seen from the front.
FRONTAL = np.diag([1.0, -1.0, -1.0])
# The distance of the frontal camera from the mean head's origin.
DISTANCE = FFHQ_RADIUS - WORLD_ORIGIN[2]
# The landmarks of the mean head in world units around their origin, symmetric so that a mirrored face has the mirrored camera.
_MIRRORED = MEAN_HEAD[[1, 0, 2, 4, 3]] * (-1, 1, 1)
HEAD = WORLD_UNIT * (MEAN_HEAD + _MIRRORED) / 2

# Standard deviation of a landmark, in image widths: two pixels of 512.
LANDMARK_SIGMA = 2 / 512
# Standard deviation of the pitch in FFHQ in radians, as in pi-GAN and EG3D.
PITCH_SIGMA = 0.155
# Standard deviations of the head's position in EG3D's crop in image widths, and of the logarithm of its scale; the crop centres it.
SHIFT_SIGMA = 0.03
SIZE_SIGMA = 0.05
# Standard deviations in world units of how far the corners of the mouth rise, and of how far they move outwards.
RISE_SIGMA = 0.04
WIDENING_SIGMA = 0.025

# A fit fails where its sum of squared residuals is larger, as where all ten coordinates are off by five standard deviations.
MAX_DEVIATION = 250.0


class HeadPose(NamedTuple):
    """The parameters of the fit: the pose and shape of a head in front of EG3D's camera.

    `rotation_vector` turns the head out of the frontal pose, in camera axes (axis times angle in radians). `shift` moves the head in the
    image, in image widths; `log_scale` is the logarithm of its scale. The corners of the mouth rise by `rise` and move outwards by
    `widening`, in world units.
    """

    rotation_vector: Float[np.ndarray, '3']
    shift: Float[np.ndarray, '2']
    log_scale: float
    rise: float
    widening: float


def solve_camera(landmarks: Landmarks) -> Float[np.ndarray, '25']:
    """Return the camera of a face in EG3D's crop, as in FFHQ's labels: 16 numbers of the camera-to-world matrix, 9 of the intrinsics.

    `landmarks` (eyes, nose, corners of the mouth; left before right as seen in the image) are in widths of the crop. The intrinsics are
    FFHQ's, and the camera lies FFHQ_RADIUS from the origin. The fit minimises the sum of squared residuals of landmarks and priors. It
    starts at the pose of OpenCV's SQPnP and at the frontal pose, and the better result counts. Raises ValueError where the landmarks fit no
    face that looks towards the camera.
    """
    # Of the extras only `train` names scipy; labels are drawn, imported and compared without it.
    from scipy.optimize import least_squares  # type: ignore[import-untyped]

    if not np.isfinite(landmarks).all() or np.ptp(landmarks, axis=0).min() < 10 * LANDMARK_SIGMA:
        raise ValueError('the five landmarks lie in one place, or in one line')
    starts = (_initial_parameters(landmarks), np.zeros(8))
    fits = [least_squares(_standardized_residuals, start, args=(landmarks,), method='lm') for start in starts]
    best = min(fits, key=lambda fit: fit.cost)
    pose = _unpack(best.x)
    rotation = _world_to_camera(pose.rotation_vector)
    if not 2 * best.cost < MAX_DEVIATION or rotation[2, 2] > 0:
        raise ValueError("the five landmarks fit no face in EG3D's crop")
    return _make_camera(rotation, pose.shift)


def _initial_parameters(landmarks: Landmarks) -> Float[np.ndarray, '8']:
    """Return OpenCV's SQPnP pose of the mean head as parameters of the fit; zeros, the frontal pose, where there is none."""
    found, rotation_vector, place = cv2.solvePnP(HEAD, np.ascontiguousarray(landmarks), INTRINSICS, None, flags=cv2.SOLVEPNP_SQPNP)
    if not found or not np.isfinite(place).all() or place[2, 0] <= 0:
        return np.zeros(8)
    rotation_vector, _ = cv2.Rodrigues(cv2.Rodrigues(rotation_vector)[0] @ FRONTAL)
    shift = FFHQ_FOCAL * place[:2, 0] / place[2, 0]
    return np.concatenate([rotation_vector[:, 0], shift, [np.log(DISTANCE / place[2, 0]), 0.0, 0.0]])


def _unpack(parameters: Float[np.ndarray, '8']) -> HeadPose:
    """Return the parameters of the fit by name."""
    return HeadPose(parameters[:3], parameters[3:5], *parameters[5:])


def _world_to_camera(rotation_vector: Float[np.ndarray, '3']) -> Rotation:
    """Return the rotation from world axes to camera axes of a head that `rotation_vector` turns out of the frontal pose."""
    matrix, _ = cv2.Rodrigues(rotation_vector)
    return matrix @ FRONTAL


def _project_head(pose: HeadPose) -> Landmarks:
    """Return the landmarks of the mean head in this pose, in image widths."""
    head = HEAD.copy()
    head[3:, 1] += pose.rise
    head[3:, 0] += (-pose.widening, pose.widening)
    place = DISTANCE * np.array([*(pose.shift / FFHQ_FOCAL), 1.0])
    points = np.exp(pose.log_scale) * head @ _world_to_camera(pose.rotation_vector).T + place
    return FFHQ_FOCAL * points[:, :2] / points[:, 2:] + 0.5


def _standardized_residuals(parameters: Float[np.ndarray, '8'], landmarks: Landmarks) -> Float[np.ndarray, '16']:
    """Return the residuals that the fit minimises, each divided by its standard deviation.

    They are ten coordinates of `landmarks`, then the priors: pitch, shift in x and y, scale, rise and widening of the mouth.
    """
    pose = _unpack(parameters)
    pitch = np.arcsin(np.clip(-_world_to_camera(pose.rotation_vector)[2, 1], -1, 1))
    missed = (_project_head(pose) - landmarks).ravel() / LANDMARK_SIGMA
    mouth = (pose.rise / RISE_SIGMA, pose.widening / WIDENING_SIGMA)
    return np.array([*missed, pitch / PITCH_SIGMA, *(pose.shift / SHIFT_SIGMA), pose.log_scale / SIZE_SIGMA, *mouth])


def _make_camera(rotation: Rotation, shift: Float[np.ndarray, '2']) -> Float[np.ndarray, '25']:
    """Return the camera, as `solve_camera` does, with the world-to-camera `rotation`, at FFHQ_RADIUS from the origin of EG3D's world.

    In its image, the mean head's origin (WORLD_ORIGIN) is `shift` away from the centre, in image widths, x right and y down.
    """
    towards = np.array([*(shift / FFHQ_FOCAL), 1.0]) @ rotation
    towards /= np.linalg.norm(towards)
    # `distance` is the larger root of |WORLD_ORIGIN - distance * towards| = FFHQ_RADIUS.
    along = WORLD_ORIGIN @ towards
    distance = along + np.sqrt(along**2 + FFHQ_RADIUS**2 - WORLD_ORIGIN @ WORLD_ORIGIN)
    cam2world = np.eye(4)
    cam2world[:3, :3], cam2world[:3, 3] = rotation.T, WORLD_ORIGIN - distance * towards
    return np.concatenate([cam2world.ravel(), INTRINSICS.ravel()])

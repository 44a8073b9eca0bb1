"""The camera of a face from its five landmarks."""

import numpy as np
import pytest
import torch
from labelled_heads import SYMMETRIC, camera, in_world

from frex.camera_labels.compare import compute_angle_errors
from frex.camera_labels.head_pose import PITCH_SIGMA, solve_camera
from frex.data.landmarks import WORLD_ORIGIN, project_points
from frex_arch.camera import FFHQ_FOCAL, ffhq_intrinsics, frontal_camera, mirror_camera, unpack_camera

PIXEL = 1 / 512


def rotation_error(found, truth):
    return compute_angle_errors(found.astype(np.float32), truth.astype(np.float32))[3]


@pytest.mark.parametrize('yaw', [-60, -40, -20, 0, 20, 40, 60])
@pytest.mark.parametrize(('pitch', 'roll'), [(0, 0), (12, 0), (-12, 8), (5, -10)])
def test_the_camera_of_the_mean_head_is_found(yaw, pitch, roll):
    truth = camera(yaw, pitch, roll)
    found = solve_camera(project_points(in_world(), truth))
    assert rotation_error(found, truth) < 1
    np.testing.assert_allclose(found[[3, 7, 11]], truth[[3, 7, 11]], atol=2.7 * np.radians(1))


def test_a_camera_has_ffhqs_distance_and_intrinsics():
    found = torch.from_numpy(solve_camera(project_points(in_world(), camera(25, 10, 5)) + 0.01))[None]
    cam2world, intrinsics = unpack_camera(found)
    rotation = cam2world[0, :3, :3]
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(3, dtype=torch.double))
    assert torch.linalg.det(rotation) > 0
    assert cam2world[0, :3, 3].norm().item() == pytest.approx(2.7, abs=1e-9)
    torch.testing.assert_close(intrinsics[0], ffhq_intrinsics().double(), atol=1e-6, rtol=0)


def test_the_head_stays_where_the_image_has_it():
    """Where the camera sees the head's middle, although it was brought to FFHQ's distance."""
    moved = np.add(project_points(in_world(), camera(30)), (0.02, -0.01))
    seen = project_points(WORLD_ORIGIN[None], solve_camera(moved))[0]
    np.testing.assert_allclose(seen - project_points(WORLD_ORIGIN[None], camera(30))[0], (0.02, -0.01), atol=0.003)


def test_the_frontal_camera_is_found():
    truth = frontal_camera()[0].double().numpy()
    # It passes a little above the middle of the head.
    assert rotation_error(solve_camera(project_points(in_world(), truth)), truth) < 0.5


@pytest.mark.slow
def test_two_pixels_of_noise_cost_a_few_degrees():
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(60):
        truth = camera(rng.uniform(-60, 60), rng.normal(0, 8), rng.normal(0, 5))
        errors.append(rotation_error(solve_camera(project_points(in_world(), truth) + rng.normal(0, 2 * PIXEL, (5, 2))), truth))
    assert np.median(errors) < 3
    assert np.max(errors) < 10


@pytest.mark.parametrize('yaw', [-30, 0, 30])
@pytest.mark.parametrize(('rise', 'widening'), [(0.15, 0.1), (-0.1, -0.05)])
def test_a_smile_does_not_ruin_the_pitch(yaw, rise, widening):
    head = SYMMETRIC.copy()
    head[3:] += [[-widening, rise, 0], [widening, rise, 0]]
    truth = camera(yaw, 5)
    found = solve_camera(project_points(in_world(head), truth))
    assert np.abs(compute_angle_errors(found.astype(np.float32), truth.astype(np.float32))).max() < 4


def test_the_pitch_is_drawn_a_little_towards_ffhqs_mean():
    for pitch in (-12, 12):
        truth = camera(0, pitch)
        found = solve_camera(project_points(in_world(), truth))
        less = np.sign(pitch) * compute_angle_errors(found.astype(np.float32), truth.astype(np.float32))[1]
        assert 0 < less < 1 < np.degrees(PITCH_SIGMA)


@pytest.mark.parametrize('yaw', [0, 20, -50])
def test_the_mirrored_face_has_the_mirrored_camera(yaw):
    landmarks = project_points(in_world(), camera(yaw, 7, 4)) + np.random.default_rng(0).normal(0, PIXEL, (5, 2))
    mirrored = (landmarks * (-1, 1) + (1, 0))[[1, 0, 2, 4, 3]]
    expected = mirror_camera(torch.from_numpy(solve_camera(landmarks))[None])[0].numpy()
    np.testing.assert_allclose(solve_camera(mirrored), expected, atol=1e-4)


FRONTAL = project_points(in_world(), frontal_camera()[0].double().numpy())


@pytest.mark.parametrize(
    'landmarks',
    [
        np.full((5, 2), 0.5),
        np.full((5, 2), np.nan),
        FRONTAL * (1, 0) + (0, 0.5),
        FRONTAL[[1, 0, 2, 4, 3]],
        FRONTAL * (1, -1) + (0, 1),
        0.3 * FRONTAL + 0.35,
        FRONTAL + 0.4,
        np.array([[0.1, 0.1], [0.9, 0.1], [0.1, 0.9], [0.9, 0.9], [0.5, 0.5]]),
    ],
    ids=['one place', 'not finite', 'one line', 'left for right', 'upside down', 'small', 'off the middle', 'no face'],
)
def test_landmarks_of_no_face_in_eg3ds_crop_are_refused(landmarks):
    with pytest.raises(ValueError, match='the five landmarks'):
        solve_camera(landmarks)


def test_the_focal_length_is_ffhqs():
    assert solve_camera(FRONTAL)[16] == pytest.approx(FFHQ_FOCAL) == pytest.approx(4.2647, abs=1e-4)

"""Where the five landmarks of a head lie, and the crops that follow from them."""

import numpy as np
import pytest
import torch

from frex.data.landmarks import MEAN_HEAD, crop_from_ffhq, crop_to_eg3d, mean_head_in_world, project_points
from frex.restore.detection.align import TEMPLATE_512
from frex_arch.camera import ffhq_intrinsics, frontal_camera, look_at, pack_camera


def camera(yaw, pitch=0.0):
    return pack_camera(look_at(torch.tensor([yaw]), torch.tensor([pitch])), ffhq_intrinsics()[None])[0].double().numpy()


def test_the_mean_head_lies_in_eg3ds_crop_where_its_standard_points_do():
    standard = [[187.7, 192.3], [324.0, 192.4], [256.7, 266.1], [200.7, 339.7], [310.5, 339.7]]
    seen = 256 + 300 * 512 / 700 * MEAN_HEAD[:, :2] * (1, -1)
    np.testing.assert_allclose(seen, standard, atol=0.06)


def test_the_crop_of_ffhqs_mean_face_is_that_of_eg3ds_tool():
    scale, x, y = crop_to_eg3d(TEMPLATE_512 / 512)
    np.testing.assert_allclose([scale, 512 * x, 512 * y], [1.0847, -22.9, -61.8], atol=0.051)


def test_an_image_in_eg3ds_crop_stays_as_it_is():
    seen = 0.5 + 300 / 700 * MEAN_HEAD[:, :2] * (1, -1)
    np.testing.assert_allclose(crop_to_eg3d(seen), [1, 0, 0], atol=1e-12)


def test_a_crop_follows_the_image():
    moved = crop_to_eg3d(0.5 * TEMPLATE_512 / 512 + (0.1, 0.2))
    scale, *shift = crop_to_eg3d(TEMPLATE_512 / 512)
    np.testing.assert_allclose(moved, [2 * scale, shift[0] - 2 * scale * 0.1, shift[1] - 2 * scale * 0.2])


def test_landmarks_in_one_place_have_no_crop():
    with pytest.raises(ValueError, match='one place'):
        crop_to_eg3d(np.full((5, 2), 0.4))


def test_eg3ds_frontal_camera_shows_the_head_as_its_crop_does():
    # The crop has no perspective: the nose comes forward in the camera's image.
    seen = 512 * project_points(mean_head_in_world(), frontal_camera()[0].double().numpy())
    standard = np.array([[187.7, 192.3], [324.0, 192.4], [256.7, 266.1], [200.7, 339.7], [310.5, 339.7]])
    assert np.abs(seen - standard).max() < 6


def test_from_a_head_turned_to_its_right_the_nose_points_right():
    nose = [project_points(mean_head_in_world(), camera(yaw))[2, 0] for yaw in (-0.5, 0.0, 0.5)]
    assert nose[0] > nose[1] > nose[2]


@pytest.mark.parametrize(('yaw', 'scale'), [(0, 1.082), (15, 1.045), (30, 1.046), (45, 1.047)])
def test_the_ffhq_square_of_a_turned_head(yaw, scale):
    """Scales of FFHQ's formula on 68 points of the mean head, without perspective."""
    crop = crop_from_ffhq(project_points(mean_head_in_world(), camera(np.radians(yaw))))
    assert crop[0] == pytest.approx(scale, abs=0.02)
    assert (crop[1] + crop[0] / 2) * 512 == pytest.approx(256, abs=4)
    assert (crop[2] + crop[0] / 2) * 512 == pytest.approx(206, abs=6)

"""Cameras and crops: the official numbers, and what they mean."""

import math

import pytest
import torch
import torch.nn.functional as F
from golden import Golden
from torch import Tensor

from frex_arch import camera as cameras
from frex_arch.crop import MEAN_CROP, mask_in_ffhq_frame, mean_crop, mirror_crop, pixel_centres, warp_to_crop
from frex_arch.rendering import pixel_rays

GOLDEN = Golden('eg3d_camera')
INPUTS = {'lookat_offsets', 'fov_degrees', 'labels', 'labels_skewed', 'c2w_forward', 'c2w_origin'}
LIMIT = 1e-6


def rays(labels: Tensor, size: int) -> tuple[Tensor, Tensor]:
    return pixel_rays(*cameras.unpack_camera(labels), size)


RECORDS = {
    'lookat_cam2world': lambda: cameras.look_at(*GOLDEN['lookat_offsets'].T),
    'lookat_cam2world_pivot0': lambda: cameras.look_at(*GOLDEN['lookat_offsets'].T, pivot=(0.0, 0.0, 0.0)),
    'fov_intrinsics': lambda: cameras.intrinsics_from_fov(GOLDEN['fov_degrees']),
    'labels_mirrored': lambda: cameras.mirror_camera(GOLDEN['labels']),
    'rays_origins_4': lambda: rays(GOLDEN['labels'], 4)[0],
    'rays_origins_7': lambda: rays(GOLDEN['labels'], 7)[0],
    'rays_directions_4': lambda: rays(GOLDEN['labels'], 4)[1],
    'rays_directions_7': lambda: rays(GOLDEN['labels'], 7)[1],
    'rays_directions_skewed_4': lambda: rays(GOLDEN['labels_skewed'], 4)[1],
    'c2w_matrix': lambda: cameras.look_along(GOLDEN['c2w_forward'], GOLDEN['c2w_origin']),
}


def test_no_official_number_is_forgotten():
    assert set(RECORDS) == set(GOLDEN.arrays) - INPUTS


@pytest.mark.parametrize('record', RECORDS)
def test_equals_the_official_number(record):
    assert GOLDEN.difference(record, RECORDS[record]()) <= LIMIT


def turned(yaw: float, pitch: float, **options) -> Tensor:
    """FFHQ camera in double precision."""
    angles = torch.tensor([[yaw], [pitch]], dtype=torch.float64)
    return cameras.pack_camera(cameras.look_at(*angles, **options), cameras.ffhq_intrinsics().double()[None])


def general_camera() -> Tensor:
    """A camera with roll, skew, two focal lengths and a principal point off the centre."""
    cam2world, intrinsics = cameras.unpack_camera(turned(0.5, 0.3))
    roll = torch.tensor([[0.96, -0.28, 0, 0], [0.28, 0.96, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=torch.float64)
    intrinsics[0, :2] = torch.tensor([[4.0, 0.1, 0.45], [0.0, 4.5, 0.55]])
    return cameras.pack_camera(cam2world @ roll, intrinsics)


def test_the_frontal_camera_by_hand():
    # x to the image's right, y down, z towards the head; 2.7 before it.
    pose = [1.0, 0, 0, 0, 0, -1, 0, 0, 0, 0, -1, 2.7, 0, 0, 0, 1]
    intrinsics = [4.2647, 0, 0.5, 0, 4.2647, 0.5, 0, 0, 1]
    torch.testing.assert_close(cameras.frontal_camera(2), torch.tensor([pose + intrinsics] * 2), rtol=0, atol=5e-5)


def test_a_label_is_a_pose_and_intrinsics_row_by_row():
    label = torch.arange(50.0).reshape(2, 25)
    cam2world, intrinsics = cameras.unpack_camera(label)
    assert torch.equal(cam2world[0, 1], torch.tensor([4.0, 5, 6, 7]))
    assert torch.equal(intrinsics[1, 2], torch.tensor([47.0, 48, 49]))
    assert torch.equal(cameras.pack_camera(cam2world, intrinsics), label)


def test_the_field_of_view_of_eg3ds_tools():
    torch.testing.assert_close(cameras.intrinsics_from_fov(torch.tensor([18.837]))[0, 0, 0].item(), 4.26339, rtol=0, atol=5e-6)


@pytest.mark.parametrize(('yaw', 'pitch', 'axis', 'sign'), [(0.4, 0.0, 0, 1), (-0.4, 0.0, 0, -1), (0.0, 0.3, 1, -1), (0.0, -0.3, 1, 1)])
def test_positive_yaw_goes_to_positive_x_and_positive_pitch_down(yaw, pitch, axis, sign):
    position = turned(yaw, pitch)[0, [3, 7, 11]]
    assert position[axis] * sign > 0.5
    torch.testing.assert_close(position.norm().item(), 2.7)
    torch.testing.assert_close(position[1 - axis].item(), 0.0, rtol=0, atol=1e-12)


def test_elevation_is_no_linear_function_of_pitch():
    # By EG3D's formula: sin(elevation) = -2 pitch / pi = -0.38197.
    position = turned(0.0, 0.6)[0, [3, 7, 11]]
    torch.testing.assert_close(math.degrees(math.asin(position[1] / 2.7)), -22.456, rtol=0, atol=1e-3)


@pytest.mark.parametrize('pivot', [(0.0, 0.0, 0.2), (0.0, 0.0, 0.0), (0.1, -0.1, 0.0)])
def test_yaw_pitch_is_the_inverse_of_look_at(pivot):
    yaw, pitch = torch.meshgrid(torch.linspace(-1.4, 1.4, 9), torch.linspace(-0.7, 0.7, 5), indexing='ij')
    yaw, pitch = yaw.flatten().double(), pitch.flatten().double()
    poses = cameras.look_at(yaw, pitch, pivot)
    found = cameras.yaw_pitch(cameras.pack_camera(poses, cameras.ffhq_intrinsics().double()[None]))
    torch.testing.assert_close(found, (yaw, pitch), rtol=0, atol=1e-12)


def test_the_view_angles_of_a_rolled_camera():
    level = turned(0.3, 0.0, pivot=(0.0, 0.0, 0.0))
    cam2world, intrinsics = cameras.unpack_camera(level)
    cosine, sine = math.cos(0.2), math.sin(0.2)
    roll = torch.tensor([[cosine, -sine, 0, 0], [sine, cosine, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=torch.float64)
    rolled = cameras.pack_camera(cam2world @ roll, intrinsics)
    expected = torch.tensor([0.3, 0.0, 0.2], dtype=torch.float64)
    torch.testing.assert_close(torch.cat(cameras.view_angles(rolled)), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(torch.cat(cameras.view_angles(cameras.frontal_camera())), torch.zeros(3), rtol=0, atol=1e-6)


def test_six_numbers_make_a_rotation():
    torch.manual_seed(0)
    columns = torch.randn(8, 6, dtype=torch.float64)
    rotation = cameras.rotation_from_6d(columns)
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3, dtype=torch.float64).expand(8, 3, 3))
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(8, dtype=torch.float64))
    torch.testing.assert_close(rotation[:, :, 0], F.normalize(columns[:, :3], dim=1))
    # A rotation's own first two columns give it back.
    again = cameras.rotation_from_6d(torch.cat([rotation[:, :, 0], rotation[:, :, 1]], dim=1))
    torch.testing.assert_close(again, rotation)


def test_gradients_of_the_camera():
    torch.manual_seed(0)
    columns = torch.randn(2, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(cameras.rotation_from_6d, [columns], fast_mode=True)
    angles = [torch.tensor([0.3, -0.5], dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(cameras.look_at, angles, fast_mode=True)


def test_a_flip_is_its_own_inverse():
    label = general_camera()
    torch.testing.assert_close(cameras.mirror_camera(cameras.mirror_camera(label)), label)
    crop = torch.tensor([[1.05, -0.08, -0.11]])
    torch.testing.assert_close(mirror_crop(mirror_crop(crop)), crop)


def test_a_flipped_camera_has_the_mirrored_rays():
    mirror = torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    origins, directions = rays(general_camera(), 5)
    flipped_origins, flipped_directions = rays(cameras.mirror_camera(general_camera()), 5)
    torch.testing.assert_close(flipped_origins, origins * mirror)
    torch.testing.assert_close(flipped_directions.unflatten(1, (5, 5)).flip(2).flatten(1, 2), directions * mirror)


def rays_at(label: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Unit directions at any image position, by the definition R K^-1 (u, v, 1)."""
    cam2world, intrinsics = cameras.unpack_camera(label)
    in_camera = torch.stack([u, v, torch.ones_like(u)], dim=-1) @ torch.linalg.inv(intrinsics[0]).T
    return F.normalize(in_camera @ cam2world[0, :3, :3].T, dim=-1)


def test_a_recropped_camera_sees_the_mapped_pixels():
    label, (scale, x, y) = general_camera(), (1.05, -0.08, -0.11)
    recropped = cameras.recrop_camera(label, torch.tensor([[scale, x, y]], dtype=torch.float64))
    v, u = torch.meshgrid(pixel_centres(6, label), pixel_centres(6, label), indexing='ij')
    # Position (u, v) of the new image is (s u + t_x, s v + t_y) of the camera's own.
    expected = rays_at(label, scale * u.flatten() + x, scale * v.flatten() + y)
    torch.testing.assert_close(rays(recropped, 6)[1][0], expected)
    assert torch.equal(cameras.unpack_camera(recropped)[0], cameras.unpack_camera(label)[0])


def test_the_crop_that_changes_nothing():
    label = general_camera()
    torch.testing.assert_close(cameras.recrop_camera(label, torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)), label)


def test_flipping_and_recropping_commute():
    label, crop = general_camera(), torch.tensor([[1.05, -0.08, -0.11]], dtype=torch.float64)
    flipped_last = cameras.mirror_camera(cameras.recrop_camera(label, crop))
    torch.testing.assert_close(cameras.recrop_camera(cameras.mirror_camera(label), mirror_crop(crop)), flipped_last)


def test_the_mean_crop_is_given_to_every_sample():
    crop = mean_crop(torch.zeros(2, 3, 8, 8))
    torch.testing.assert_close(crop, torch.tensor([[1.083, -22 / 512, -66 / 512]] * 2))
    # The middle of the FFHQ image goes up by about 45 of 512 pixels, and almost nowhere sideways.
    torch.testing.assert_close((crop[0, 0] / 2 + crop[0, 1:] - 0.5) * 512, torch.tensor([-0.752, -44.752]), rtol=0, atol=1e-3)


def test_pixel_centres_by_hand():
    centres = pixel_centres(4, torch.zeros(1, dtype=torch.float64))
    assert torch.equal(centres, torch.tensor([0.125, 0.375, 0.625, 0.875], dtype=torch.float64))


def test_the_mask_is_where_the_crop_was_taken():
    # x_e = 2 x - 0.5 is inside for x from 0.25 to 0.75, y_e = 2 y for y up to 0.5.
    mask = mask_in_ffhq_frame(torch.tensor([[2.0, -0.5, 0.0]]), 4)
    rows, columns = torch.tensor([1.0, 1, 0, 0]), torch.tensor([0.0, 1, 1, 0])
    assert torch.equal(mask, (rows[:, None] * columns)[None, None])


def test_a_warped_image_shows_the_mapped_pixels():
    # What is linear in the image stays linear: x_f = (x_e - t_x) / s, y_f = (y_e - t_y) / s.
    crop = torch.tensor([MEAN_CROP, (2.0, -0.5, -0.5)])
    centres = pixel_centres(32, crop)
    image = torch.stack([centres.expand(32, 32), centres[:, None].expand(32, 32), torch.ones(32, 32)]).expand(2, -1, -1, -1)
    warped = warp_to_crop(image, crop, 16)
    # The mean crop's last rows lie beyond the image: their values are those of its edge.
    position = ((pixel_centres(16, crop) - crop[:, 1:, None]) / crop[:, :1, None]).clamp(1 / 64, 63 / 64)
    torch.testing.assert_close(warped[:, 0, 8], position[:, 0], rtol=0, atol=0.02)
    torch.testing.assert_close(warped[:, 0, :, 2:-2], position[:, 0, None, 2:-2].expand(2, 16, 12))
    torch.testing.assert_close(warped[:, 1, 1:13], position[:, 1, 1:13, None].expand(2, 12, 16))
    torch.testing.assert_close(warped[:, 2], torch.ones(2, 16, 16))


def test_beyond_the_image_its_edge_goes_on():
    # Row 15 of 16 in the mean crop lies at (31 / 32 + 66 / 512) / 1.083 > 1, below the image.
    image = torch.zeros(1, 3, 32, 32)
    image[:, :, -1] = 1
    warped = warp_to_crop(image, torch.tensor([MEAN_CROP]), 16)
    torch.testing.assert_close(warped[:, :, -1], torch.ones(1, 3, 16))
    assert not warped[:, :, :13].any()

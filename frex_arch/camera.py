"""The 25-number camera of EG3D: a 4 x 4 camera-to-world matrix and 3 x 3 intrinsics, both row by row.

Camera axes are OpenCV's: x right, y down, z forward. In the world y is up, the head looks along +z, and the person's left is +x, which a
frontal camera shows on the right of the image. Focal lengths and principal point are in image widths, the latter from the image's upper
left corner. With EG3D's default `box_warp` of 1 the tri-planes cover the cube from -0.5 to 0.5 in each coordinate of the world.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

CAMERA_DIM = 25
# Focal length of all FFHQ labels in image widths, and the distance of their cameras from the origin in units of the world.
FFHQ_FOCAL = 2985.29 / 700
FFHQ_RADIUS = 2.7

# EG3D rounds these two constants; the cameras on which its generator was conditioned were made with them.
_EG3D_PI = 3.14159
_EG3D_SQRT2 = 1.414

Camera = Float[Tensor, 'batch 25']
Cam2World = Float[Tensor, '*batch 4 4']
Intrinsics = Float[Tensor, '*batch 3 3']


def pack_camera(cam2world: Float[Tensor, 'batch 4 4'], intrinsics: Float[Tensor, '#batch 3 3']) -> Camera:
    """Join camera-to-world matrices and intrinsics, of which one may serve all cameras, into 25-number labels."""
    intrinsics = intrinsics.expand(cam2world.shape[0], -1, -1)
    return torch.cat([cam2world.flatten(1), intrinsics.flatten(1)], dim=1)


def unpack_camera(camera: Camera) -> tuple[Float[Tensor, 'batch 4 4'], Float[Tensor, 'batch 3 3']]:
    """Split 25-number labels into camera-to-world matrices and intrinsics."""
    return camera[:, :16].unflatten(1, (4, 4)), camera[:, 16:].unflatten(1, (3, 3))


def ffhq_intrinsics() -> Float[Tensor, '3 3']:
    """Return the intrinsics that all FFHQ camera labels of EG3D share, in image widths: focal length 4.2647, principal point 0.5."""
    return torch.tensor([[FFHQ_FOCAL, 0.0, 0.5], [0.0, FFHQ_FOCAL, 0.5], [0.0, 0.0, 1.0]])


def intrinsics_from_fov(degrees: Float[Tensor, ' batch']) -> Float[Tensor, 'batch 3 3']:
    """Return the intrinsics of diagonal fields of view as EG3D's tools compute them; 18.837 degrees give a focal length of 4.26339."""
    focal = 1 / (torch.tan(degrees * _EG3D_PI / 360) * _EG3D_SQRT2)
    intrinsics = ffhq_intrinsics().to(degrees).repeat(len(degrees), 1, 1)
    intrinsics[:, 0, 0] = intrinsics[:, 1, 1] = focal
    return intrinsics


def pack_pose(rotation: Float[Tensor, 'batch 3 3'], position: Float[Tensor, 'batch 3']) -> Float[Tensor, 'batch 4 4']:
    """Return the 4 x 4 camera-to-world matrix of a camera's rotation and its position in the world."""
    top = torch.cat([rotation, position[:, :, None]], dim=2)
    # Filled in place, because a tensor made from Python numbers would be copied to the GPU in every call.
    bottom = torch.zeros_like(top[:, :1])
    bottom[:, :, 3] = 1
    return torch.cat([top, bottom], dim=1)


def rotation_from_6d(columns: Float[Tensor, 'batch 6']) -> Float[Tensor, 'batch 3 3']:
    """Return the rotation whose first two columns are those in `columns`, made orthonormal by Gram-Schmidt (Zhou et al. 2019).

    The result is no rotation where a column is 0 or both are parallel, which is not checked.
    """
    right = F.normalize(columns[:, :3], dim=1)
    down = columns[:, 3:]
    down = F.normalize(down - (right * down).sum(dim=1, keepdim=True) * right, dim=1)
    return torch.stack([right, down, torch.linalg.cross(right, down)], dim=2)


def look_along(forward: Float[Tensor, 'batch 3'], position: Float[Tensor, 'batch 3']) -> Float[Tensor, 'batch 4 4']:
    """Return the camera-to-world matrix of a camera at `position` that looks along `forward` without roll.

    `forward` need not have unit length, but must not be vertical.
    """
    forward = F.normalize(forward, dim=1)
    up = forward.new_tensor([0.0, 1.0, 0.0]).expand_as(forward)
    right = F.normalize(torch.linalg.cross(forward, up), dim=1)
    down = torch.linalg.cross(forward, right)
    return pack_pose(torch.stack([right, down, forward], dim=2), position)


def look_at(
    yaw: Float[Tensor, ' batch'],
    pitch: Float[Tensor, ' batch'],
    pivot: tuple[float, float, float] = (0.0, 0.0, 0.2),
    radius: float = FFHQ_RADIUS,
) -> Float[Tensor, 'batch 4 4']:
    """Return camera-to-world matrices as EG3D samples them: positions on a sphere of `radius` around the origin, looking at `pivot`.

    `yaw` (radians) and `pitch` are EG3D's offsets from the frontal view. yaw > 0 shows the person's left side, pitch > 0 the face from
    below. `pitch` is not an angle: the camera's elevation is -asin(2 pitch / pi). Its sign is opposite to that of `view_angles`.
    """
    vertical = (pitch + math.pi / 2).clamp(1e-5, math.pi - 1e-5)
    phi = torch.arccos(1 - 2 * vertical / math.pi)
    direction = torch.stack([phi.sin() * yaw.sin(), phi.cos(), phi.sin() * yaw.cos()], dim=1)
    position = radius * direction
    return look_along(position.new_tensor(pivot) - position, position)


def frontal_camera(batch: int = 1) -> Camera:
    """Return `batch` times the camera straight in front of an FFHQ face: FFHQ's intrinsics, yaw and pitch 0 of `look_at`."""
    return pack_camera(look_at(torch.zeros(batch), torch.zeros(batch)), ffhq_intrinsics()[None])


def yaw_pitch(camera: Camera) -> tuple[Float[Tensor, ' batch'], Float[Tensor, ' batch']]:
    """Return the yaw and pitch for which `look_at` gives each camera's position; the direction in which a camera looks is ignored."""
    position = unpack_camera(camera)[0][:, :3, 3]
    sine = position[:, 1] / position.norm(dim=1)
    return torch.atan2(position[:, 0], position[:, 2]), -math.pi / 2 * sine


def view_angles(camera: Camera) -> tuple[Float[Tensor, ' batch'], Float[Tensor, ' batch'], Float[Tensor, ' batch']]:
    """Return yaw, pitch and roll of the direction in which each camera looks, in radians.

    yaw > 0 shows the person's left side, pitch > 0 the face from above, and roll > 0 is a camera turned clockwise, in whose image the head
    leans counter-clockwise.
    """
    cam2world, _ = unpack_camera(camera)
    right, forward = cam2world[:, :3, 0], cam2world[:, :3, 2]
    level = look_along(forward, torch.zeros_like(forward))
    cosine = (right * level[:, :3, 0]).sum(dim=1)
    sine = (right * level[:, :3, 1]).sum(dim=1)
    return torch.atan2(-forward[:, 0], -forward[:, 2]), torch.asin(-forward[:, 1]), torch.atan2(sine, cosine)


def mirror_camera(camera: Camera) -> Camera:
    """Return the camera that sees the mirrored head as `camera` sees the head, with the image mirrored left to right."""
    cam2world, intrinsics = unpack_camera(camera)
    mirror = camera.new_tensor([-1.0, 1.0, 1.0, 1.0]).diag()
    flipped = intrinsics.clone()
    flipped[:, 0, 2] = 1 - intrinsics[:, 0, 2]
    flipped[:, 0, 1] = -intrinsics[:, 0, 1]
    return pack_camera(mirror @ cam2world @ mirror, flipped)


def recrop_camera(camera: Camera, crop: Float[Tensor, 'batch 3']) -> Camera:
    """Turn `camera`, whose image is EG3D's crop, into the camera whose image is the FFHQ-aligned frame, which `crop` maps to that crop.

    `crop` (s, t_x, t_y) is defined in `frex_arch.crop`: f' = f / s and c' = (c - t) / s. The pose stays.
    """
    cam2world, intrinsics = unpack_camera(camera)
    scale, shift = crop[:, 0], crop[:, 1:]
    recropped = intrinsics.clone()
    recropped[:, :2] = intrinsics[:, :2] / scale[:, None, None]
    recropped[:, :2, 2] = (intrinsics[:, :2, 2] - shift) / scale[:, None]
    return pack_camera(cam2world, recropped)

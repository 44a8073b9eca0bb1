"""Images of a camera: the axes of the head on the face."""

import cv2
import numpy as np
from jaxtyping import Float

from frex.data.labels import CameraLabel, CropLabel, angles_of
from frex.data.landmarks import head_in_world, project
from frex.images import Image

# Between the eyes; the axes are as long as the eyes lie apart.
ORIGIN = head_in_world()[:2].mean(axis=0)
LENGTH = 0.15
# x red, y green, z blue; in BGR.
COLOURS = ((0, 0, 255), (0, 200, 0), (255, 80, 0))


def axes_in_picture(camera: CameraLabel, crop: CropLabel) -> Float[np.ndarray, '4 2']:
    """Origin of the head's axes and the ends of x, y and z, in widths of an image that `crop` leads from to EG3D's."""
    points = np.stack([ORIGIN, *(ORIGIN + LENGTH * np.eye(3))])
    seen = project(points, camera.astype(np.float64))
    return (seen - crop[1:]) / crop[0]


def draw_camera(image: Image, camera: CameraLabel, crop: CropLabel) -> Image:
    """A copy of `image` with the head's axes and the angles of view in degrees."""
    drawn = image.copy()
    width = drawn.shape[1]
    origin, *ends = np.clip(axes_in_picture(camera, crop) * width, -4 * width, 5 * width).round().astype(int).tolist()
    thickness = max(1, width // 128)
    for end, colour in zip(ends, COLOURS, strict=True):
        cv2.arrowedLine(drawn, origin, end, colour, thickness, cv2.LINE_AA, tipLength=0.15)
    yaw, pitch, roll = angles_of(camera)
    _write(drawn, f'yaw {yaw:+.0f}  pitch {pitch:+.0f}  roll {roll:+.0f}')
    return drawn


def _write(image: Image, text: str) -> None:
    """White on black, along the lower edge, at a size that fits."""
    width = image.shape[1]
    (length, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 1.0, 1)
    scale = 0.7 * width / length
    bottom = image.shape[0] - round(1.5 * scale * below)
    cv2.rectangle(image, (0, bottom - round(1.5 * scale * height)), (width, image.shape[0]), (0, 0, 0), cv2.FILLED)
    cv2.putText(image, text, (round(0.02 * width), bottom), cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 1, cv2.LINE_AA)

"""Draw a camera label on its image: the axes of the head and the angles of the viewing direction."""

import cv2
import numpy as np
from jaxtyping import Float

from frex.data.labels import CameraLabel, CropLabel, view_angles_in_degrees
from frex.data.landmarks import mean_head_in_world, project_points
from frex.images import Image

# In EG3D's world: the axes start between the eyes and are about as long as the distance of the eyes.
ORIGIN = mean_head_in_world()[:2].mean(axis=0)
LENGTH = 0.15
# BGR colors of the axes: x red, y green, z blue.
AXIS_COLORS = ((0, 0, 255), (0, 200, 0), (255, 80, 0))


def project_axes(camera: CameraLabel, crop: CropLabel) -> Float[np.ndarray, '4 2']:
    """Return the origin of the head's axes and the ends of its x, y and z axis, in widths of the image, from its top left corner.

    `camera` belongs to EG3D's crop of the face, to which `crop` (s, t_x, t_y) leads from the image.
    """
    points = np.stack([ORIGIN, *(ORIGIN + LENGTH * np.eye(3))])
    projected = project_points(points, camera.astype(np.float64))
    return (projected - crop[1:]) / crop[0]


def draw_camera(image: Image, camera: CameraLabel, crop: CropLabel) -> Image:
    """Return a copy of a BGR `image` with the head's axes (x red, y green, z blue) and yaw, pitch and roll in degrees.

    `camera` belongs to EG3D's crop of the face, to which `crop` (s, t_x, t_y) leads from the image.
    """
    drawn = image.copy()
    width = drawn.shape[1]
    origin, *ends = np.clip(project_axes(camera, crop) * width, -4 * width, 5 * width).round().astype(int).tolist()
    thickness = max(1, width // 128)
    for end, color in zip(ends, AXIS_COLORS, strict=True):
        cv2.arrowedLine(drawn, origin, end, color, thickness, cv2.LINE_AA, tipLength=0.15)
    yaw, pitch, roll = view_angles_in_degrees(camera)
    _write_caption(drawn, f'yaw {yaw:+.0f}  pitch {pitch:+.0f}  roll {roll:+.0f}')
    return drawn


def _write_caption(image: Image, text: str) -> None:
    """Write white text on a black bar along the lower edge of `image`, in place, at a size that fits its width."""
    width = image.shape[1]
    (length, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 1.0, 1)
    scale = 0.7 * width / length
    bottom = image.shape[0] - round(1.5 * scale * below)
    cv2.rectangle(image, (0, bottom - round(1.5 * scale * height)), (width, image.shape[0]), (0, 0, 0), cv2.FILLED)
    cv2.putText(image, text, (round(0.02 * width), bottom), cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 1, cv2.LINE_AA)

"""Paste a restored face into an image, blended in float32 by a mask that is 0 at the border of the aligned square.

Only pixels in the region of the face change.
"""

from functools import cache

import cv2
import numpy as np
from jaxtyping import Float32, UInt8, UInt16

from frex.restore.detection.align import Matrix, compose_shift_output, downscaled, inverse, visible_region, warp

Mask = Float32[np.ndarray, 'size size']
Canvas = UInt8[np.ndarray, 'canvas_height canvas_width 3'] | UInt16[np.ndarray, 'canvas_height canvas_width 3']

# Radii, in halves of the square's side: within INNER the mask is 1, beyond OUTER 0.
INNER, OUTER = 0.78, 0.97
# Exponent of the mask's shape: 2 gives a circle, infinity a square. The corners of an aligned face show the background.
ROUNDNESS = 2.6
# Side of the tiles that are blended one after the other, to save memory: a face may fill an image of 100 megapixels.
TILE = 1024
# The factor from values of 8 bit to those of 16 bit.
DEPTH = 257


@cache
def soft_square(size: int) -> Mask:
    """Return the default mask of an aligned face: a rounded square with a feathered edge, values 0 to 1.

    The array is read-only, because all callers share it.
    """
    places = np.abs((np.arange(size) + 0.5) * 2 / size - 1) ** ROUNDNESS
    radius = (places[:, None] + places) ** (1 / ROUNDNESS)
    mask = smooth_step((OUTER - radius) / (OUTER - INNER)).astype(np.float32)
    mask.flags.writeable = False
    return mask


def smooth_step(x: np.ndarray) -> np.ndarray:
    """Return the smoothstep function 3 x^2 - 2 x^3 of `x`, which is clipped to 0..1."""
    x = x.clip(0, 1)
    return x * x * (3 - 2 * x)


def paste_face(canvas: Canvas, face: UInt8[np.ndarray, 'size size 3'], matrix: Matrix, mask: Mask | None = None) -> None:
    """Blend `face` into `canvas`, in place; `matrix` maps pixels of the canvas to those of the face.

    `mask`, of the face's size, says how much of each pixel of the face is taken, 0 to 1 (default: `soft_square`). Pixels outside of the
    face's region stay bit for bit as they are. On a canvas of 16 bit the values of the face are multiplied by 257.
    """
    size = face.shape[0]
    mask = soft_square(size) if mask is None else mask
    left, top, right, bottom = visible_region(matrix, size, canvas.shape[1], canvas.shape[0])
    back = inverse(matrix)
    colours, back_of_colours = downscaled(face.astype(np.float32) * (DEPTH if canvas.dtype == np.uint16 else 1), back)
    weights, back_of_weights = downscaled(mask, back)
    for y in range(top, bottom, TILE):
        for x in range(left, right, TILE):
            part = canvas[y : min(y + TILE, bottom), x : min(x + TILE, right)]
            extent = (part.shape[1], part.shape[0])
            shown = warp(colours, compose_shift_output(back_of_colours, x, y), extent, cv2.INTER_CUBIC, cv2.BORDER_REPLICATE)
            # Linear, because cubic interpolation would leave 0..1.
            weight = warp(weights, compose_shift_output(back_of_weights, x, y), extent, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT)
            _blend(part, shown, weight)


def _blend(
    part: Canvas, shown: Float32[np.ndarray, 'canvas_height canvas_width 3'], weight: Float32[np.ndarray, 'canvas_height canvas_width']
) -> None:
    shown -= part
    shown *= weight[:, :, None]
    shown += part
    np.rint(shown, out=shown)
    np.clip(shown, 0, np.iinfo(part.dtype).max, out=shown)
    part[...] = shown.astype(part.dtype)

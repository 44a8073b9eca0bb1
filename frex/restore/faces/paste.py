"""Putting a restored face back: in its own region only, in float32, through a mask that is 0 at the border of the aligned square."""

from functools import cache

import cv2
import numpy as np
from jaxtyping import Float32, UInt8, UInt16

from frex.restore.detection.align import Matrix, downscaled, inverse, region_of, warp

Mask = Float32[np.ndarray, 'size size']
Canvas = UInt8[np.ndarray, 'canvas_height canvas_width 3'] | UInt16[np.ndarray, 'canvas_height canvas_width 3']

# Of half the square: within the first the mask is 1, beyond the second 0.
INNER, OUTER = 0.78, 0.97
# 2 would be a circle, infinity a square: the corners of an aligned face show what is behind it.
ROUNDNESS = 2.6
# Side of what is blended at once: a face may fill an image of 100 megapixels.
TILE = 1024
# Pixels of 16 bit for one of 8.
DEPTH = 257


@cache
def soft_square(size: int) -> Mask:
    """A rounded square with a feathered edge, in the aligned frame. Read only: all callers share it."""
    places = np.abs((np.arange(size) + 0.5) * 2 / size - 1) ** ROUNDNESS
    radius = (places[:, None] + places) ** (1 / ROUNDNESS)
    mask = smooth_step((OUTER - radius) / (OUTER - INNER)).astype(np.float32)
    mask.flags.writeable = False
    return mask


def smooth_step(x: np.ndarray) -> np.ndarray:
    """From 0 at 0 to 1 at 1, level at both ends."""
    x = x.clip(0, 1)
    return x * x * (3 - 2 * x)


def paste_face(canvas: Canvas, face: UInt8[np.ndarray, 'size size 3'], matrix: Matrix, mask: Mask | None = None) -> None:
    """Blend `face` into `canvas`, in place; `matrix` leads from the canvas's pixels to the face's.

    `mask`, in the face's frame, says how much of it is taken (default: `soft_square`). What lies outside of the face's
    region keeps its bytes. On a canvas of 16 bit the face's values count 257 each.
    """
    size = face.shape[0]
    mask = soft_square(size) if mask is None else mask
    left, top, right, bottom = region_of(matrix, size, canvas.shape[1], canvas.shape[0])
    back = inverse(matrix)
    colours, back_of_colours = downscaled(face.astype(np.float32) * (DEPTH if canvas.dtype == np.uint16 else 1), back)
    weights, back_of_weights = downscaled(mask, back)
    for y in range(top, bottom, TILE):
        for x in range(left, right, TILE):
            part = canvas[y : min(y + TILE, bottom), x : min(x + TILE, right)]
            extent = (part.shape[1], part.shape[0])
            shown = warp(colours, _from(back_of_colours, x, y), extent, cv2.INTER_CUBIC, cv2.BORDER_REPLICATE)
            # Linear: a cubic would leave 0..1.
            weight = warp(weights, _from(back_of_weights, x, y), extent, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT)
            _blend(part, shown, weight)


def _from(matrix: Matrix, left: int, top: int) -> Matrix:
    """The map to the part of the canvas that begins at (left, top)."""
    return np.column_stack([matrix[:, :2], matrix[:, 2] - (left, top)])


def _blend(
    part: Canvas, shown: Float32[np.ndarray, 'canvas_height canvas_width 3'], weight: Float32[np.ndarray, 'canvas_height canvas_width']
) -> None:
    shown -= part
    shown *= weight[:, :, None]
    shown += part
    np.rint(shown, out=shown)
    np.clip(shown, 0, np.iinfo(part.dtype).max, out=shown)
    part[...] = shown.astype(part.dtype)

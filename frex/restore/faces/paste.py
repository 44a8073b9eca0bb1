"""Paste restored faces into an image, blended in float32 by masks that are 0 at the border of the aligned squares.

Only pixels in the regions of the faces change. Where regions overlap, each pixel belongs to the face that is nearest.
"""

from collections.abc import Sequence
from functools import cache
from itertools import product
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float32, UInt8, UInt16

from frex.restore.detection.align import Matrix, compose_shift, downscaled, inverse, visible_region, warp

Mask = Float32[np.ndarray, 'size size']
Weight = Float32[np.ndarray, 'canvas_height canvas_width']
Canvas = UInt8[np.ndarray, 'canvas_height canvas_width 3'] | UInt16[np.ndarray, 'canvas_height canvas_width 3']

# Radii, in halves of the square's side: within INNER the mask is 1, beyond OUTER 0.
INNER, OUTER = 0.78, 0.97
# Exponent of the mask's shape: 2 gives a circle, infinity a square. The corners of an aligned face show the background.
ROUNDNESS = 2.6
# Side of the tiles that are blended one after the other, to save memory: a face may fill an image of 100 megapixels.
TILE = 512
# Two faces are blended where their distances, in widths of their squares, differ by less than this.
BORDER_WIDTH = 0.05
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


class Patch(NamedTuple):
    """A restored face to paste. `matrix` maps pixels of the canvas to those of the face, which has `size` x `size`.

    `mask` says how much of each pixel of the face is taken, 0 to 1 (default: `soft_square`). Where `image` is None the face stays as it
    is on the canvas, and keeps other faces away.
    """

    image: UInt8[np.ndarray, 'size size 3'] | None
    matrix: Matrix
    size: int
    mask: Mask | None = None


def paste_face(canvas: Canvas, face: UInt8[np.ndarray, 'size size 3'], matrix: Matrix, mask: Mask | None = None) -> None:
    """Blend `face` into `canvas`, in place; `matrix` maps pixels of the canvas to those of the face. See `paste_patches`."""
    paste_patches(canvas, [Patch(face, matrix, face.shape[0], mask)])


def paste_patches(canvas: Canvas, patches: Sequence[Patch]) -> None:
    """Blend faces into `canvas`, in place; their order makes no difference.

    Where they overlap, a pixel belongs to the face to whose centre it is nearest, in widths of the faces' squares; at the border between
    two faces they are blended. Pixels outside of all regions stay bit for bit as they are. On a canvas of 16 bit the values of the faces
    are multiplied by 257.
    """
    regions = [visible_region(patch.matrix, patch.size, canvas.shape[1], canvas.shape[0]) for patch in patches]
    tiles: dict[tuple[int, int], list[int]] = {}
    for number, (left, top, right, bottom) in enumerate(regions):
        for tile in product(range(left // TILE, -(-right // TILE)), range(top // TILE, -(-bottom // TILE))):
            tiles.setdefault(tile, []).append(number)
    for (column, row), numbers in tiles.items():
        within = [_intersect(regions[number], column * TILE, row * TILE) for number in numbers]
        left, top, right, bottom = (choose(values) for choose, values in zip((min, min, max, max), zip(*within, strict=True), strict=True))
        _paste_into_tile(canvas[top:bottom, left:right], left, top, [patches[number] for number in numbers])


def _intersect(region: tuple[int, int, int, int], left: int, top: int) -> tuple[int, int, int, int]:
    return max(region[0], left), max(region[1], top), min(region[2], left + TILE), min(region[3], top + TILE)


def _paste_into_tile(part: Canvas, left: int, top: int, patches: Sequence[Patch]) -> None:
    """Blend faces into a part of the canvas whose top left corner is (left, top)."""
    shifted = [patch._replace(matrix=compose_shift(patch.matrix, left, top)) for patch in patches]
    extent = (part.shape[1], part.shape[0])
    # Linear, because cubic interpolation would leave 0..1.
    masks = [soft_square(patch.size) if patch.mask is None else patch.mask for patch in shifted]
    weights = [_show(mask, patch, extent, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT) for mask, patch in zip(masks, shifted, strict=True)]
    if len(shifted) > 1:
        weights = _share(weights, [_distance(patch, extent) for patch in shifted])
    before = part.astype(np.float32)
    after = before.copy()
    for patch, weight in zip(shifted, weights, strict=True):
        if patch.image is not None and weight.any():
            face = patch.image.astype(np.float32) * (DEPTH if part.dtype == np.uint16 else 1)
            after += (_show(face, patch, extent, cv2.INTER_CUBIC, cv2.BORDER_REPLICATE) - before) * weight[:, :, None]
    np.rint(after, out=after)
    np.clip(after, 0, np.iinfo(part.dtype).max, out=after)
    part[...] = after.astype(part.dtype)


def _show(
    image: Float32[np.ndarray, 'size size *channels'], patch: Patch, extent: tuple[int, int], flags: int, border: int
) -> Float32[np.ndarray, 'height width *channels']:
    """Warp an image of a face's square onto a part of the canvas of `extent` (width, height)."""
    smaller, back = downscaled(image, inverse(patch.matrix))
    return warp(smaller, back, extent, flags, border)


def _distance(patch: Patch, extent: tuple[int, int]) -> Weight:
    """Return the distance of each pixel from the centre of the face, in widths of its square."""
    matrix = (patch.matrix / patch.size).astype(np.float32)
    columns, rows = np.arange(extent[0], dtype=np.float32) + 0.5, np.arange(extent[1], dtype=np.float32)[:, None] + 0.5
    across, down = (axis[0] * columns + axis[1] * rows + axis[2] - 0.5 for axis in matrix)
    return np.hypot(across, down)


def _share(weights: Sequence[Weight], distances: Sequence[Weight]) -> list[Weight]:
    """Divide each pixel among the faces that have a weight there; their sum is that of independent layers, at most 1.

    A face has a pixel as far as its own weight says, and no nearer face has it.
    """
    shared = [weight.copy() for weight in weights]
    for first, second in product(range(len(weights)), repeat=2):
        # Weights that do not overlap take nothing from each other.
        if first != second and np.minimum(weights[first], weights[second]).any():
            behind = smooth_step(0.5 + (distances[first] - distances[second]) / (2 * BORDER_WIDTH))
            shared[first] *= 1 - weights[second] * behind
    covered = 1 - np.prod([1 - weight for weight in weights], axis=0)
    factor = covered / np.maximum(np.sum(shared, axis=0), np.float32(1e-6))
    return [(weight * factor).astype(np.float32) for weight in shared]

"""Scale images that have alpha: a pixel counts by its alpha, so that colours which nobody sees do not mix with the visible ones."""

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt

Pixels = UInt[np.ndarray, 'height width 3']
Alpha = UInt[np.ndarray, 'height width']

# Rows of the result that are computed at a time, to save memory.
ROWS = 64
# Pixels around a pixel of the result that Lanczos interpolation takes into account, and one more.
SUPPORT = 5


def scale_with_alpha(image: Pixels, alpha: Alpha, size: tuple[int, int]) -> tuple[UInt[np.ndarray, '_ _ 3'], UInt[np.ndarray, '_ _']]:
    """Return an image and its alpha scaled to `size` (width, height), by which both sides become smaller or both become larger.

    Where alpha varies, colours are multiplied by it, scaled, and divided by it, all by area averages where the image becomes smaller,
    else by linear interpolation: neither overshoots. Elsewhere the image is scaled as one without alpha.
    """
    shrinks = size[0] <= image.shape[1] and size[1] <= image.shape[0]
    scaled = cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LANCZOS4)
    scaled_alpha = np.empty(size[::-1], alpha.dtype)
    varied = _varied(alpha, shrinks)
    for top in range(0, size[1], ROWS):
        rows = slice(top, min(top + ROWS, size[1]))
        first, weights = _row_weights(image.shape[0], size[1], rows, shrinks)
        source = slice(first, first + weights.shape[1])
        _scale_rows(image[source], alpha[source], varied[source], weights, scaled[rows], scaled_alpha[rows])
    return scaled, scaled_alpha


def _varied(alpha: Alpha, shrinks: bool) -> Bool[np.ndarray, 'height width']:
    """Return at which pixels alpha is not the same as at all those that are interpolated together with them."""
    side = 3 if shrinks else 2 * SUPPORT + 1
    window = np.ones((side, side), np.uint8)
    return cv2.dilate(alpha, window) != cv2.erode(alpha, window)


def _row_weights(height: int, new_height: int, rows: slice, shrinks: bool) -> tuple[int, Float32[np.ndarray, 'new_rows source_rows']]:
    """Return the first row of the source that the new `rows` depend on, and the weights of the source's rows from there on."""
    ratio = height / new_height
    numbers = np.arange(rows.start, rows.stop)[:, None]
    if shrinks:
        first, last = int(numbers[0, 0] * ratio), min(height, int(np.ceil((numbers[-1, 0] + 1) * ratio)))
        source = np.arange(first, last)
        overlap = np.minimum((numbers + 1) * ratio, source + 1) - np.maximum(numbers * ratio, source)
        weights = overlap.clip(0)
    else:
        centres = ((numbers + 0.5) * ratio - 0.5).clip(0, height - 1)
        first, last = int(centres[0, 0]), min(height, int(centres[-1, 0]) + 2)
        weights = (1 - np.abs(centres - np.arange(first, last))).clip(0)
    return first, (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _scale_rows(
    image: Pixels,
    alpha: Alpha,
    varied: Bool[np.ndarray, 'height width'],
    weights: Float32[np.ndarray, 'new_height height'],
    target: UInt[np.ndarray, 'new_height new_width 3'],
    target_alpha: UInt[np.ndarray, 'new_height new_width'],
) -> None:
    """Scale rows into `target_alpha`, and into `target` where alpha varies; `weights` say how rows are mixed."""
    size = (target.shape[1], len(image))
    interpolation = cv2.INTER_AREA if target.shape[1] <= image.shape[1] else cv2.INTER_LINEAR
    new_alpha = _mix(weights, cv2.resize(alpha.astype(np.float32), size, interpolation=interpolation))
    target_alpha[...] = np.rint(new_alpha)
    if not varied.any():
        return
    multiplied = image.astype(np.float32) * alpha[:, :, None]
    colours = _mix(weights, cv2.resize(multiplied, size, interpolation=interpolation))
    involved = _mix(weights, cv2.resize(varied.astype(np.float32), size, interpolation=interpolation)) > 0
    # What is all transparent keeps the colours that nobody sees.
    visible = involved & (target_alpha > 0)
    target[visible] = np.rint(colours[visible] / new_alpha[visible][:, None])


def _mix(
    weights: Float32[np.ndarray, 'new_height height'], rows: Float32[np.ndarray, 'height width *channels']
) -> Float32[np.ndarray, 'new_height width *channels']:
    return (weights @ rows.reshape(len(rows), -1)).reshape(len(weights), *rows.shape[1:])

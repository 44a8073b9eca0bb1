"""Recognize faces without colours of their own, such as those of grey and sepia photographs, and give results their tone."""

import cv2
import numpy as np
from jaxtyping import Float, Shaped, UInt8

from frex.images import Image
from frex.restore.detection.align import Matrix, compose_shift_output, cut_face, inside_image, scale_of
from frex.restore.image_io.color_modes import to_eight_bit

Tones = UInt8[np.ndarray, '256 3']
"""The BGR colour that an image without colours of its own shows at each luma, 0 to 255."""

# Side of the copy of the face's square that is examined, and the part of it, in widths, that counts: about what the face fills.
SIZE = 128
PART = slice(round(0.2 * SIZE), round(0.8 * SIZE))
# Least side of that square in pixels of the image: JPEG stores colours in blocks of 16 pixels, and a small square has only few of them.
LEAST_SIDE = 192.0
# Standard deviation, in pixels of the copy, of the blur that removes noise and JPEG's blocks from the colours that the luma leaves open.
BLUR = SIZE / 32
# Greatest root mean square of these colours in levels of Cr and Cb. All of 2,228 portraits in colour have more, also as JPEG of quality 10
# and from 14 pixels; of 1,022 grey and tinted ones 1,018 have less.
MOST_COLOUR = 1.6
# Standard deviations, in levels of luma, of the kernels that smooth the tones; the wide one reaches levels that do not occur.
NARROW, WIDE, WIDE_SHARE = 6.0, 60.0, 1e-4


def find_tones(image: Shaped[np.ndarray, 'height width 3'], matrix: Matrix, size: int) -> Tones | None:
    """Return the tones of the face that `matrix` aligns at `size` x `size` pixels; None where the face has colours of its own.

    `image` is BGR of 8 or 16 bit; `matrix` maps its pixels to those of the aligned square. A face has no colours of its own where its
    luma alone says which colour each pixel has, apart from noise and what JPEG does: it is grey, sepia, or of another tint. None is
    returned, too, where the face lies outside of the image.
    """
    side = size / scale_of(matrix)
    # The square is enlarged around its centre where it is small.
    zoom = min(1.0, side / LEAST_SIDE)
    square = compose_shift_output(matrix * (SIZE / size * zoom), -SIZE * (1 - zoom) / 2)
    cut = to_eight_bit(cut_face(image, square, SIZE))
    seen = inside_image(square, SIZE, image.shape[1], image.shape[0])[PART, PART]
    if not seen.any():
        return None
    luma_and_colour = cv2.cvtColor(np.ascontiguousarray(cut[PART, PART]), cv2.COLOR_BGR2YCrCb)
    luma, colour = luma_and_colour[..., 0], luma_and_colour[..., 1:].astype(np.float32) - 128
    curve = _fit_curve(luma[seen], colour[seen])
    unexplained = np.where(seen[..., None], colour - curve[luma], 0)
    strength = np.square(cv2.GaussianBlur(unexplained, (0, 0), BLUR)).sum(axis=2)[seen].mean()
    return _to_tones(curve) if strength <= MOST_COLOUR**2 else None


def apply_tones(face: Image, tones: Tones | None) -> Image:
    """Return a face, BGR, with its own luma and the colours of `tones`; without `tones` it is returned as it is."""
    return face if tones is None else tones[cv2.cvtColor(face, cv2.COLOR_BGR2GRAY)]


def _fit_curve(luma: UInt8[np.ndarray, ' pixels'], colour: Shaped[np.ndarray, 'pixels 2']) -> Float[np.ndarray, '256 2']:
    """Return the colour, Cr and Cb less 128, at each luma, fitted by local linear regression."""
    levels = np.arange(256)[:, None]
    count = np.bincount(luma, minlength=256)[:, None]
    total = np.stack([np.bincount(luma, weights=channel, minlength=256) for channel in colour.T], axis=1)
    kernel = _gaussian(NARROW) + WIDE_SHARE * _gaussian(WIDE)
    sums = kernel @ np.hstack([count, levels * count, levels**2 * count, total, levels * total])
    mean, square, colours, products = np.split(sums[:, 1:] / sums[:, :1], [1, 2, 4], axis=1)
    # The variance is never 0, so that the slope is 0 where all pixels have one luma.
    slope = (products - mean * colours) / (square - mean**2 + 1)
    return colours + slope * (levels - mean)


def _gaussian(deviation: float) -> Float[np.ndarray, '256 256']:
    """Return the Gaussian weights between all pairs of luma levels, 1 for equal ones; `deviation` is in levels."""
    levels = np.arange(256)
    return np.exp(-(((levels[:, None] - levels) / deviation) ** 2) / 2)


def _to_tones(curve: Float[np.ndarray, '256 2']) -> Tones:
    """Convert the colour at each luma, Cr and Cb less 128, to BGR."""
    levels = np.column_stack([np.arange(256), curve + 128])
    return cv2.cvtColor(np.rint(levels).clip(0, 255).astype(np.uint8)[:, None], cv2.COLOR_YCrCb2BGR)[:, 0]

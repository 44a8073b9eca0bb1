"""The demo's degradations: Eq. 19 with fixed parameters, where blur and reduction are relative to the width of the face in the image.

A whole photograph and the face cut out of it therefore lose the same detail. The result has the size of the image.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from frex.data.convolution import FloatImage, convolve
from frex.data.degradation import REFERENCE_SIZE, compress_jpeg, gaussian_kernel
from frex.images import Image

SEED = 2024


@dataclass(frozen=True)
class FixedDegradation:
    """The parameters of one degradation, None for a step that is left out.

    `blur` is the standard deviation of a Gaussian in pixels of a face that is 512 wide; `pixels_across` is the width in pixels to which the
    face is reduced before it is enlarged again; `noise` is a standard deviation in grey levels, `jpeg` a quality from 1 to 100.
    """

    name: str
    blur: float | None = None
    pixels_across: float | None = None
    noise: float | None = None
    jpeg: int | None = None


DEGRADATIONS = (
    FixedDegradation('mild', blur=4, noise=4, jpeg=85),
    FixedDegradation('blur', blur=14, jpeg=90),
    FixedDegradation('noise', noise=35),
    FixedDegradation('low resolution', pixels_across=32, jpeg=90),
    FixedDegradation('all together', blur=7, pixels_across=64, noise=20, jpeg=60),
)
# The degradations that are also applied to the whole photograph.
IN_PHOTOGRAPH = ('noise', 'all together')


def apply_degradation(image: Image, degradation: FixedDegradation, face_width: float, seed: list[int]) -> Image:
    """Return a BGR uint8 `image` degraded at its own size.

    `face_width` is the width in pixels of its face's aligned square, by which the degradation is scaled. `seed` is a list of numbers that
    identify image and degradation, so that each gets noise of its own.
    """
    height, width = image.shape[:2]
    values: FloatImage = image.astype(np.float32) / 255
    if degradation.blur is not None:
        sigma = degradation.blur * face_width / REFERENCE_SIZE
        values = convolve(values, gaussian_kernel(6 * sigma + 1, sigma, sigma, 0.0))
    if degradation.pixels_across is not None:
        ratio = max(1.0, face_width / degradation.pixels_across)
        size = (max(1, round(width / ratio)), max(1, round(height / ratio)))
        values = np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_LINEAR), np.float32)
    if degradation.noise is not None:
        noise = np.random.default_rng([SEED, *seed]).standard_normal(values.shape, dtype=np.float32)
        values = (values + noise * np.float32(degradation.noise / 255)).clip(0, 1)
    if degradation.jpeg is not None:
        values = compress_jpeg(values, degradation.jpeg)
    full_size = cv2.resize(values, (width, height), interpolation=cv2.INTER_LINEAR)
    return (full_size.clip(0, 1) * 255).round().astype(np.uint8)

"""The degradations of the demo: Eq. 19 with fixed parameters, for images in which the face has any size."""

from dataclasses import dataclass

import cv2
import numpy as np

from frex.data.convolution import FloatImage, convolve
from frex.data.degradation import REFERENCE_SIZE, compress_jpeg, gaussian_kernel
from frex.images import Image

SEED = 2024


@dataclass(frozen=True)
class Recipe:
    """One degradation. Lengths are for a face of 512 pixels; None leaves a step out.

    `blur` is the standard deviation of a Gaussian, `across` the number of pixels that remain across the face, `noise` the standard
    deviation of the noise in grey levels, `jpeg` a quality.
    """

    name: str
    blur: float | None = None
    across: float | None = None
    noise: float | None = None
    jpeg: int | None = None


RECIPES = (
    Recipe('mild', blur=4, noise=4, jpeg=85),
    Recipe('blur', blur=14, jpeg=90),
    Recipe('noise', noise=35),
    Recipe('low resolution', across=32, jpeg=90),
    Recipe('all together', blur=7, across=64, noise=20, jpeg=60),
)
# The degradations that are also applied to the whole photograph.
IN_PHOTOGRAPH = ('noise', 'all together')


def apply_recipe(image: Image, recipe: Recipe, side: float, seed: list[int]) -> Image:
    """Return `image` degraded at its own size; `side` is the width in pixels of its face's aligned square."""
    height, width = image.shape[:2]
    values: FloatImage = image.astype(np.float32) / 255
    if recipe.blur is not None:
        sigma = recipe.blur * side / REFERENCE_SIZE
        values = convolve(values, gaussian_kernel(6 * sigma + 1, sigma, sigma, 0.0))
    if recipe.across is not None:
        ratio = max(1.0, side / recipe.across)
        size = (max(1, round(width / ratio)), max(1, round(height / ratio)))
        values = np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_LINEAR), np.float32)
    if recipe.noise is not None:
        noise = np.random.default_rng([SEED, *seed]).standard_normal(values.shape, dtype=np.float32)
        values = (values + noise * np.float32(recipe.noise / 255)).clip(0, 1)
    if recipe.jpeg is not None:
        values = compress_jpeg(values, recipe.jpeg)
    full_size = cv2.resize(values, (width, height), interpolation=cv2.INTER_LINEAR)
    return (full_size.clip(0, 1) * 255).round().astype(np.uint8)

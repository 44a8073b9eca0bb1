"""The degradation of Eq. 19, I_LQ = [(I_HQ * k) down_r + n]_JPEG.

`draw_degradation` makes all random decisions and `degrade` applies them, so that an image can be reproduced from its parameters. Lengths
(standard deviations of blur, kernel sizes) and the down-sampling ratio are stated for images 512 pixels wide and scale with the width, so
that with the same parameters a small image and a large one show equally much of the face.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from frex.data.convolution import FloatImage, Kernel, convolve

# The image width in pixels for which lengths are stated.
REFERENCE_SIZE = 512
# The least and the largest value of a uniform distribution.
Range = tuple[float, float]


@dataclass(frozen=True)
class DegradationRanges:
    """The distribution of a degradation's parameters: the range of each, and the probability of each step. The defaults are the paper's.

    `motion_sizes` are the lengths of motion blur, of which one is drawn. `blur_sigma` is the range of the standard deviations of Gaussian
    blur and `blur_kernel_size` the width of its kernel. All three are in pixels of 512. `isotropic_prob` is the probability that both
    standard deviations are equal. `downsample_range` is the range of the ratio r. `noise_range` is in grey levels from 0 to 255.
    `jpeg_range` are qualities, both ends included. With probability `second_prob` an image goes through Gaussian blur, down-sampling, noise
    and JPEG once more, with the `second_` ranges and else the same values.
    """

    motion_prob: float = 0.5
    motion_sizes: tuple[float, ...] = (21, 31, 41, 51, 61, 71)
    blur_prob: float = 0.8
    blur_kernel_size: float = 41
    blur_sigma: Range = (0, 20)
    isotropic_prob: float = 0.5
    downsample_prob: float = 0.9
    downsample_range: Range = (1, 16)
    noise_prob: float = 0.8
    noise_range: Range = (0, 50)
    jpeg_prob: float = 0.8
    jpeg_range: tuple[int, int] = (50, 100)
    second_prob: float = 0.5
    second_blur_sigma: Range = (0, 10)
    second_downsample_range: Range = (1, 8)
    second_noise_range: Range = (0, 15)


# The ranges of the authors' code: no step is left out but motion blur in the second pass, and ranges begin higher than the paper's.
RELEASE = DegradationRanges(
    motion_prob=1.0,
    motion_sizes=(21, 25, 31, 35, 41, 45, 51, 61, 71),
    blur_prob=1.0,
    blur_sigma=(0.1, 20),
    downsample_prob=1.0,
    downsample_range=(4, 16),
    noise_prob=1.0,
    noise_range=(10, 50),
    jpeg_prob=1.0,
    second_prob=0.8,
    second_blur_sigma=(0.1, 10),
    second_downsample_range=(2, 8),
)

PRESETS = {'paper': DegradationRanges(), 'release': RELEASE}


@dataclass(frozen=True)
class DegradationParams:
    """Drawn parameters of one pass of Eq. 19; None for a step that is left out."""

    motion: tuple[float, float] | None
    """Length in pixels of 512, and angle in radians from the x axis (right) towards the y axis (down)."""
    blur: tuple[float, float, float] | None
    """Standard deviations along and across an axis, in pixels of 512, and the axis' angle, as in `motion`."""
    blur_kernel_size: float
    """In pixels of 512."""
    downsample: float | None
    """Ratio r for an image 512 pixels wide; for one of S pixels it is r S / 512, but at least 1."""
    noise: float | None
    """Standard deviation in grey levels from 0 to 255."""
    noise_seed: int
    jpeg: int | None
    """Quality from 1 to 100."""


def draw_degradation(degradation: DegradationRanges, rng: np.random.Generator) -> list[DegradationParams]:
    """Draw the parameters of each pass that an image goes through, one or two."""
    d = degradation
    first = _draw_pass(d, rng, d.motion_prob, d.blur_sigma, d.downsample_range, d.noise_range)
    if rng.random() >= d.second_prob:
        return [first]
    return [first, _draw_pass(d, rng, 0.0, d.second_blur_sigma, d.second_downsample_range, d.second_noise_range)]


def _draw_pass(
    d: DegradationRanges, rng: np.random.Generator, motion_prob: float, sigma: Range, downsample: Range, noise: Range
) -> DegradationParams:
    """Draw the parameters of one pass.

    Every number is drawn whether it is used or not, so that a change of one probability does not change the other parameters.
    """
    motion = (float(rng.choice(d.motion_sizes)), rng.uniform(0, math.pi))
    happens = rng.random(5) < (motion_prob, d.blur_prob, d.downsample_prob, d.noise_prob, d.jpeg_prob)
    sigmas = rng.uniform(*sigma, size=2)
    if rng.random() < d.isotropic_prob:
        sigmas[1] = sigmas[0]
    blur = (float(sigmas[0]), float(sigmas[1]), rng.uniform(-math.pi, math.pi))
    factor, deviation = rng.uniform(*downsample), rng.uniform(*noise)
    quality = int(rng.integers(d.jpeg_range[0], d.jpeg_range[1] + 1))
    seed = int(rng.integers(2**32))
    return DegradationParams(
        motion=motion if happens[0] else None,
        blur=blur if happens[1] else None,
        blur_kernel_size=d.blur_kernel_size,
        downsample=factor if happens[2] else None,
        noise=deviation if happens[3] else None,
        noise_seed=seed,
        jpeg=quality if happens[4] else None,
    )


def degrade(image: FloatImage, passes: list[DegradationParams]) -> FloatImage:
    """Return `image`, BGR in [0, 1], degraded by `passes` one after another, at the same size and rounded to multiples of 1/255."""
    for params in passes:
        image = _degrade_once(image, params)
    return (image.clip(0, 1) * 255).round().astype(np.float32) / 255


def _degrade_once(image: FloatImage, params: DegradationParams) -> FloatImage:
    """Apply one pass of Eq. 19: motion blur, Gaussian blur, down-sampling, noise, JPEG, and the resize back to the image's size."""
    height, width = image.shape[:2]
    scale = width / REFERENCE_SIZE
    if params.motion is not None:
        length, angle = params.motion
        image = convolve(image, motion_kernel(length * scale, angle))
    if params.blur is not None:
        along, across, angle = params.blur
        image = convolve(image, gaussian_kernel(params.blur_kernel_size * scale, along * scale, across * scale, angle))
    if params.downsample is not None:
        ratio = max(1.0, params.downsample * scale)
        size = (max(1, int(width // ratio)), max(1, int(height // ratio)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    if params.noise is not None:
        field = np.random.default_rng(params.noise_seed).standard_normal(image.shape, dtype=np.float32)
        image = (image + field * np.float32(params.noise / 255)).clip(0, 1)
    if params.jpeg is not None:
        image = compress_jpeg(image, params.jpeg)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)


def motion_kernel(length: float, angle: float) -> Kernel:
    """Return the kernel of motion blur, which sums to 1: an antialiased line of `length` pixels through the centre.

    `angle` is in radians, from the x axis (right) towards the y axis (down).
    """
    reach = max((length - 1) / 2, 0.0)
    radius = math.ceil(reach)
    steps = np.linspace(-reach, reach, 4 * radius + 1)
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1), dtype=np.float64)
    x, y = radius + steps * math.cos(angle), radius + steps * math.sin(angle)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    for dx in (0, 1):
        for dy in (0, 1):
            weight = (1 - abs(x - left - dx)) * (1 - abs(y - top - dy))
            column, row = np.minimum(left + dx, 2 * radius), np.minimum(top + dy, 2 * radius)
            np.add.at(kernel, (row, column), weight)
    return (kernel / kernel.sum()).astype(np.float32)


def gaussian_kernel(size: float, sigma_along: float, sigma_across: float, angle: float) -> Kernel:
    """Return a Gaussian kernel, which sums to 1, of the odd size nearest to `size`, but at least 3.

    `angle` is in radians, from the x axis (right) towards the y axis (down). The standard deviations are in pixels, along the axis at that
    angle and across it.
    """
    radius = max(1, round((size - 1) / 2))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float64)
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    # A standard deviation below a tenth of a pixel makes no difference; 0 would divide by zero.
    exponent = (along / max(sigma_along, 0.1)) ** 2 + (across / max(sigma_across, 0.1)) ** 2
    kernel = np.exp(-exponent / 2)
    return (kernel / kernel.sum()).astype(np.float32)


def compress_jpeg(image: FloatImage, quality: int) -> FloatImage:
    """Return `image`, BGR in [0, 1], after compression as JPEG of `quality` 1 to 100."""
    _, data = cv2.imencode('.jpg', (image.clip(0, 1) * 255).round().astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return np.asarray(decoded, dtype=np.float32) / 255

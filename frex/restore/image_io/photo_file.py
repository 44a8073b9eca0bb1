"""A photograph as it comes: upright, BGR, at 8 or 16 bit, with what its file says beside the pixels."""

import math
import struct
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt

from frex.errors import FRExError
from frex.restore.image_io.color_modes import to_eight_bit
from frex.restore.image_io.decoding import MOST_PIXELS, decode
from frex.restore.image_io.encoding import encode
from frex.restore.image_io.formats import Pixels, fitted, format_of
from frex.restore.image_io.metadata import Metadata, profile_space
from frex.utils.files import replacing

__all__ = ['Metadata', 'Picture', 'is_colourless', 'read_picture', 'scaled', 'scaled_size', 'to_eight_bit', 'write_picture']

# Of a result: what PNG and Pillow still carry in a few gigabytes.
MOST_RESULT_PIXELS = 4 * MOST_PIXELS


@dataclass(frozen=True, eq=False)
class Picture:
    """`image`, BGR, and `alpha` are uint8 or uint16 both. `grey`: without colour, its three channels are alike.

    `metadata` says upright, as the pixels are. `notes` tell what reading could not keep.
    """

    image: UInt[np.ndarray, 'height width 3']
    alpha: UInt[np.ndarray, 'height width'] | None
    grey: bool
    metadata: Metadata
    notes: tuple[str, ...] = ()


def read_picture(path: Path) -> Picture:
    """Read an image, turned upright; CMYK and palettes become RGB, with alpha where there is any, 1 bit becomes 8.

    Of several frames or pages it is the first. Raises FRExError, in one line, where the file is no image, not whole, of
    another depth than 1 to 8 or 16 bit, or larger than `MOST_PIXELS`.
    """
    pixels, metadata, notes = decode(path)
    alpha = np.ascontiguousarray(pixels[:, :, -1]) if pixels.shape[2] in (2, 4) else None
    if pixels.shape[2] < 3:
        return Picture(cv2.cvtColor(pixels[:, :, 0], cv2.COLOR_GRAY2BGR), alpha, True, metadata, notes)
    image = pixels if alpha is None else np.ascontiguousarray(pixels[:, :, :3])
    grey = is_colourless(image)
    return Picture(_in_grey(image) if grey else image, alpha, grey, metadata, notes)


def is_colourless(image: UInt[np.ndarray, 'height width 3']) -> bool:
    """So that a black and white photograph that was stored in colours is restored without any."""
    # WebP decodes grey with errors of 1.
    most = 1 if image.dtype == np.uint8 else 0
    # A few rows tell most images.
    parts = (image[::step] for step in (64, 1))
    return all(cv2.absdiff(part[..., 1], part[..., channel]).max() <= most for part in parts for channel in (0, 2))


def _in_grey(image: UInt[np.ndarray, 'height width 3']) -> UInt[np.ndarray, 'height width 3']:
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)


def write_picture(path: Path, picture: Picture, quality: int = 95) -> tuple[str, ...]:
    """Write a whole file or none, in the format of the suffix, and say what that could not hold.

    Alpha, 16 bit, EXIF and the colour profile are kept where the format can; an image that is `grey` is written grey.
    `quality`: 1 to 100, for jpg, webp and avif. Raises FRExError where the file cannot be written.
    """
    try:
        kind = format_of(path.suffix)
        pixels, metadata, notes = fitted(_as_stored(picture), picture.metadata, kind)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part, part.open('wb') as file:
            encode(file, pixels, metadata, kind, quality)
    except FRExError as error:
        raise FRExError(f'{path}: {error}') from None
    except (OSError, ValueError, cv2.error, struct.error, MemoryError) as error:
        # The cause stays: who writes many asks whether the disk is full.
        raise FRExError(f'{path}: cannot be written ({error or type(error).__name__})') from error
    return notes


def _as_stored(picture: Picture) -> Pixels:
    image = picture.image
    if picture.grey:
        # A profile of colours is not allowed in a file of one channel.
        needs_colours = profile_space(picture.metadata.icc) == 'RGB'
        image = _in_grey(image) if needs_colours else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[:, :, None]
    return image if picture.alpha is None else np.dstack([image, picture.alpha])


def scaled(picture: Picture, factor: float) -> Picture:
    """At round(width * factor) x round(height * factor), at least 1 x 1; averaged where it shrinks, else Lanczos.

    Raises FRExError for a factor that is not positive and where the result would be larger than `MOST_RESULT_PIXELS`.
    """
    size = scaled_size(picture, factor)
    if size == picture.image.shape[1::-1]:
        return picture
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_LANCZOS4
    alpha = None if picture.alpha is None else cv2.resize(picture.alpha, size, interpolation=way)
    return replace(picture, image=cv2.resize(picture.image, size, interpolation=way), alpha=alpha)


def scaled_size(picture: Picture, factor: float) -> tuple[int, int]:
    """Width and height that `scaled` makes; raises FRExError as it does."""
    if not (math.isfinite(factor) and factor > 0):
        raise FRExError(f'an image cannot be scaled by {factor}')
    height, width = picture.image.shape[:2]
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    if size[0] * size[1] > MOST_RESULT_PIXELS:
        most = f'{MOST_RESULT_PIXELS // 10**6} million pixels'
        raise FRExError(f'{width} x {height} scaled by {factor:g} is more than {most}: take a smaller factor')
    return size

"""Read, scale and write images as `Photo`: upright BGR pixels of 8 or 16 bit, with alpha and metadata."""

import math
import struct
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt

from frex.errors import FRExError
from frex.restore.image_io.color_modes import to_eight_bit, to_grey
from frex.restore.image_io.decoding import MOST_PIXELS, decode
from frex.restore.image_io.encoding import encode
from frex.restore.image_io.formats import Pixels, find_format, fit_to_format
from frex.restore.image_io.metadata import Metadata, profile_color_space
from frex.utils.files import write_atomically

__all__ = ['Metadata', 'Photo', 'is_colourless', 'read_photo', 'scale_photo', 'scaled_size', 'to_eight_bit', 'write_photo']

# The largest result: PNG and Pillow still handle it in a few gigabytes of memory.
MOST_RESULT_PIXELS = 4 * MOST_PIXELS


@dataclass(frozen=True, eq=False)
class Photo:
    """An image in memory: `image` is BGR, and both it and `alpha` are uint8, or both are uint16.

    `grey` is True for an image without colour; its three channels are equal then. The pixels are upright, and the orientation in
    `metadata` says so. `notes` lists what could not be kept when the file was read.
    """

    image: UInt[np.ndarray, 'height width 3']
    alpha: UInt[np.ndarray, 'height width'] | None
    grey: bool
    metadata: Metadata
    notes: tuple[str, ...] = ()


def read_photo(path: Path) -> Photo:
    """Read an image file and turn it upright.

    CMYK and palette images become RGB, alpha is kept, and 1 bit per sample becomes 8. Of several frames or pages the first is read.
    Raises FRExError where the file is not an image, is truncated, has a depth other than 1 to 8 or 16 bit, or has more than
    `MOST_PIXELS` pixels.
    """
    pixels, metadata, notes = decode(path)
    alpha = np.ascontiguousarray(pixels[:, :, -1]) if pixels.shape[2] in (2, 4) else None
    if pixels.shape[2] < 3:
        return Photo(cv2.cvtColor(pixels[:, :, 0], cv2.COLOR_GRAY2BGR), alpha, True, metadata, notes)
    image = pixels if alpha is None else np.ascontiguousarray(pixels[:, :, :3])
    grey = is_colourless(image)
    return Photo(to_grey(image) if grey else image, alpha, grey, metadata, notes)


def is_colourless(image: UInt[np.ndarray, 'height width 3']) -> bool:
    """Return whether the three channels are equal: a black and white photograph stored in colour is then restored without colour.

    A difference of 1 is allowed at 8 bit.
    """
    # WebP decodes grey with errors of 1.
    most = 1 if image.dtype == np.uint8 else 0
    # Every 64th row is enough to reject most colour images.
    parts = (image[::step] for step in (64, 1))
    return all(cv2.absdiff(part[..., 1], part[..., channel]).max() <= most for part in parts for channel in (0, 2))


def write_photo(path: Path, photo: Photo, quality: int = 95) -> tuple[str, ...]:
    """Write `photo` in the format of the suffix of `path`, and return a note for each thing that the format cannot hold.

    The file is replaced only when it is complete. Alpha, 16 bit, EXIF and the colour profile are kept where the format can hold them;
    a photo that is `grey` is written with one channel. `quality`, 1 to 100, applies to jpg, webp and avif. Raises FRExError where the
    file cannot be written.
    """
    try:
        kind = find_format(path.suffix)
        pixels, metadata, notes = fit_to_format(_stored_pixels(photo), photo.metadata, kind)
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(path) as part, part.open('wb') as file:
            encode(file, pixels, metadata, kind, quality)
    except FRExError as error:
        raise FRExError(f'{path}: {error}') from None
    except (OSError, ValueError, cv2.error, struct.error, MemoryError) as error:
        # The cause is kept, so that `find_fatal_errno` can tell whether the disk is full.
        raise FRExError(f'{path}: cannot be written ({error or type(error).__name__})') from error
    return notes


def _stored_pixels(photo: Photo) -> Pixels:
    image = photo.image
    if photo.grey:
        # An RGB profile is not allowed in a file with one channel.
        needs_colours = profile_color_space(photo.metadata.icc) == 'RGB'
        image = to_grey(image) if needs_colours else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[:, :, None]
    return image if photo.alpha is None else np.dstack([image, photo.alpha])


def scale_photo(photo: Photo, factor: float) -> Photo:
    """Return the photo at round(width * factor) x round(height * factor) pixels, at least 1 x 1.

    Area averaging is used to shrink, Lanczos to enlarge. Raises FRExError for a factor that is not positive, and where the result would
    have more than `MOST_RESULT_PIXELS` pixels.
    """
    size = scaled_size(photo, factor)
    if size == photo.image.shape[1::-1]:
        return photo
    interpolation = cv2.INTER_AREA if factor < 1 else cv2.INTER_LANCZOS4
    alpha = None if photo.alpha is None else cv2.resize(photo.alpha, size, interpolation=interpolation)
    return replace(photo, image=cv2.resize(photo.image, size, interpolation=interpolation), alpha=alpha)


def scaled_size(photo: Photo, factor: float) -> tuple[int, int]:
    """Return the width and height of what `scale_photo` returns; raise FRExError in the same cases."""
    if not (math.isfinite(factor) and factor > 0):
        raise FRExError(f'an image cannot be scaled by {factor}')
    height, width = photo.image.shape[:2]
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    if size[0] * size[1] > MOST_RESULT_PIXELS:
        most = f'{MOST_RESULT_PIXELS // 10**6} million pixels'
        raise FRExError(f'{width} x {height} scaled by {factor:g} is more than {most}: take a smaller factor')
    return size

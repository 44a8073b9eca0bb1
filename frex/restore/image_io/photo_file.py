"""`Photo`, an image in memory with alpha and metadata: read it from a file, make it from what Python callers pass, scale and write it."""

import math
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
from jaxtyping import Shaped, UInt
from PIL import ImageOps

from frex.errors import FRExError
from frex.restore.image_io.alpha import scale_with_alpha
from frex.restore.image_io.color_modes import GREY, to_grey
from frex.restore.image_io.decoding import decode
from frex.restore.image_io.encoding import Pixels, encode, find_format, fit_to_format
from frex.restore.image_io.headers import MOST_PIXELS, read_metadata
from frex.restore.image_io.metadata import Metadata, profile_color_space
from frex.utils.files import write_atomically

# The largest result: PNG and Pillow still handle it in a few gigabytes of memory.
MOST_RESULT_PIXELS = 4 * MOST_PIXELS
# Pillow's modes whose values are not grey or RGB colours from 0 to 255.
UNREAD_MODES = ('I', 'F', 'LAB', 'HSV')


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


Source = str | Path | Photo | PIL.Image.Image | Shaped[np.ndarray, 'height width *channels']
"""An image as a caller may give it: a path, a `Photo`, one of Pillow's images, or an array as OpenCV reads it."""


def read_photo(path: Path) -> Photo:
    """Read an image file and turn it upright.

    CMYK and palette images become RGB, and alpha is kept. PNG and TIFF of 16 bit keep their depth, unless they are CMYK; all else is read
    at 8 bit, such as 1 bit, and AVIF of 10 bit. Of several frames or pages the first is read. `notes` of the result says what was lost.
    Raises FRExError where the file is missing, is not an image, is truncated, is a camera's raw file, has colours or a depth that are not
    read, such as 32 bit, or has more than `MOST_PIXELS` pixels.
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


# --- What Python callers pass


def to_photo(source: object) -> Photo:
    """Convert any `Source` to a `Photo`; raise FRExError, with the reason, where `source` is not an image or cannot be read."""
    if isinstance(source, Photo):
        return source
    if isinstance(source, str | Path):
        return read_photo(Path(source))
    if isinstance(source, PIL.Image.Image):
        return from_pillow(source)
    if isinstance(source, np.ndarray):
        return from_array(source)
    hint = (
        'was the file read? cv2.imread gives None where it could not' if source is None else 'give a path, or an array as OpenCV reads it'
    )
    raise FRExError(f'no image: {type(source).__name__}; {hint}')


def from_array(array: Shaped[np.ndarray, '*shape']) -> Photo:
    """Convert an array to a `Photo`: grey (H, W) or (H, W, 1), BGR (H, W, 3) or BGRA (H, W, 4), uint8 or uint16.

    An image without colour is marked `grey`, whatever its number of channels. Raises FRExError for other shapes and types.
    """
    channels = 1 if array.ndim == 2 else array.shape[2] if array.ndim == 3 else 0
    if channels not in (1, 3, 4) or array.dtype not in (np.uint8, np.uint16) or 0 in array.shape:
        raise FRExError(f'no image: {array.dtype} {array.shape}; give (H, W), (H, W, 3) or (H, W, 4), uint8 or uint16')
    if channels == 1:
        return Photo(np.dstack([array.reshape(array.shape[:2])] * 3), None, True, Metadata())
    alpha = array[:, :, 3].copy() if channels == 4 else None
    image = np.ascontiguousarray(array[:, :, :3])
    return Photo(image, alpha, is_colourless(image), Metadata())


def has_colour_channels(source: object) -> bool:
    """Return whether a caller's array, or Pillow's image, has three colour channels, so that the result must have as many.

    It is False for a path and for a `Photo`, whose result may have one channel.
    """
    if isinstance(source, PIL.Image.Image):
        return source.mode not in GREY
    return isinstance(source, np.ndarray) and source.ndim == 3 and source.shape[2] > 1


def from_pillow(image: PIL.Image.Image) -> Photo:
    """Convert one of Pillow's images to a `Photo`, turned upright as its EXIF orientation says.

    Modes `I;16` and `I;16B` become 16 bit, all others 8 bit; grey, alpha and metadata are kept. A colour profile is kept for the modes
    L, LA, RGB and RGBA only; CMYK is converted to RGB without its profile. Raises FRExError for the modes in UNREAD_MODES, and for an
    image without a pixel.
    """
    if 0 in image.size:
        raise FRExError(f'no image: {image.width} x {image.height} pixels')
    if image.mode in UNREAD_MODES:
        raise FRExError(f"no image: Pillow's mode {image.mode} is not read; convert it to L, I;16, RGB or RGBA")
    image = ImageOps.exif_transpose(image)
    metadata = read_metadata(image)
    if image.mode not in ('L', 'LA', 'RGB', 'RGBA'):
        metadata = metadata._replace(icc=None)
    if image.mode.startswith('I;16'):
        return replace(from_array(np.asarray(image).astype(np.uint16)), metadata=metadata)
    has_alpha = 'A' in image.getbands() or 'a' in image.getbands() or 'transparency' in image.info
    if image.mode in GREY and 'transparency' not in image.info:
        grey, alpha = _channels(image.convert('LA'))
        return Photo(np.dstack([grey] * 3), alpha if has_alpha else None, True, metadata)
    red, green, blue, alpha = _channels(image.convert('RGBA'))
    colours = np.dstack([blue, green, red])
    return Photo(colours, alpha if has_alpha else None, is_colourless(colours), metadata)


def _channels(image: PIL.Image.Image) -> list[Any]:
    return [np.ascontiguousarray(channel) for channel in np.moveaxis(np.asarray(image), 2, 0)]


# --- Writing and scaling


def write_photo(path: Path, photo: Photo, quality: int = 95) -> tuple[str, ...]:
    """Write `photo` in the format of the suffix of `path`, and return a note for each thing that the format cannot hold.

    An existing file is replaced when the new one is complete; a missing folder is made. Alpha, 16 bit and metadata are kept where the
    format can hold them. A photo that is `grey` is written with one channel, unless its colour profile is one for RGB. `quality`, 1 to
    100, applies to jpg, webp and avif. Raises FRExError where the file cannot be written.
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
    """Return the photo at round(width * factor) x round(height * factor) pixels, at least 1 x 1; `photo` itself where that is its size.

    Area averaging is used to shrink, Lanczos to enlarge; around edges of alpha see `scale_with_alpha`. Raises FRExError for a factor
    that is not positive and finite, and where the result would have more than `MOST_RESULT_PIXELS` pixels.
    """
    size = scaled_size(photo, factor)
    if size == photo.image.shape[1::-1]:
        return photo
    if photo.alpha is not None:
        image, alpha = scale_with_alpha(photo.image, photo.alpha, size)
        return replace(photo, image=image, alpha=alpha)
    interpolation = cv2.INTER_AREA if factor < 1 else cv2.INTER_LANCZOS4
    return replace(photo, image=cv2.resize(photo.image, size, interpolation=interpolation))


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

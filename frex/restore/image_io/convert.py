"""Convert what Python callers pass as an image (a path, an array, one of Pillow's) to a `Photo`."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped
from PIL import Image as PillowImage
from PIL import ImageOps

from frex.errors import FRExError
from frex.restore.image_io.color_modes import GREY
from frex.restore.image_io.decoding import read_metadata
from frex.restore.image_io.photo_file import Metadata, Photo, is_colourless, read_photo

Source = str | Path | Photo | PillowImage.Image | Shaped[np.ndarray, 'height width *channels']
"""An image as a caller may give it: a path, a `Photo`, one of Pillow's images, or an array as OpenCV reads it."""

# Pillow's modes whose values are not grey or RGB colours from 0 to 255.
UNREAD_MODES = ('I', 'F', 'LAB', 'HSV')


def to_photo(source: object) -> Photo:
    """Convert any `Source` to a `Photo`; raise FRExError, with the reason, where `source` is not an image or cannot be read."""
    if isinstance(source, Photo):
        return source
    if isinstance(source, str | Path):
        return read_photo(Path(source))
    if isinstance(source, PillowImage.Image):
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
    """Return whether a caller's array, or Pillow's image, has three colour channels, so that the result must have as many."""
    if isinstance(source, PillowImage.Image):
        return source.mode not in GREY
    return isinstance(source, np.ndarray) and source.ndim == 3 and source.shape[2] > 1


def from_pillow(image: PillowImage.Image) -> Photo:
    """Convert one of Pillow's images to a `Photo`, turned upright as its EXIF orientation says.

    Mode `I;16` becomes 16 bit, all others 8 bit; grey, alpha and metadata are kept. Raises FRExError for the modes in UNREAD_MODES.
    """
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


def _channels(image: PillowImage.Image) -> list[Any]:
    return [np.ascontiguousarray(channel) for channel in np.moveaxis(np.asarray(image), 2, 0)]

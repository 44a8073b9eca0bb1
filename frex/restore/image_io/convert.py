"""Images as Python callers have them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped
from PIL import Image as PillowImage
from PIL import ImageOps

from frex.errors import FRExError
from frex.restore.image_io.color_modes import GREY
from frex.restore.image_io.decoding import metadata_of
from frex.restore.image_io.photo_file import Metadata, Picture, is_colourless, read_picture

Source = str | Path | Picture | PillowImage.Image | Shaped[np.ndarray, 'height width *channels']
"""A path, a Image, one of Pillow's, or an array as OpenCV reads it."""

# Of Pillow's modes, what has numbers that are no colours of 0 to 255.
UNREAD_MODES = ('I', 'F', 'LAB', 'HSV')


def as_picture(source: object) -> Picture:
    """The image that a caller means by a `Source`; raises FRExError, with the reason, where it is none."""
    if isinstance(source, Picture):
        return source
    if isinstance(source, str | Path):
        return read_picture(Path(source))
    if isinstance(source, PillowImage.Image):
        return from_pillow(source)
    if isinstance(source, np.ndarray):
        return from_array(source)
    hint = (
        'was the file read? cv2.imread gives None where it could not' if source is None else 'give a path, or an array as OpenCV reads it'
    )
    raise FRExError(f'no image: {type(source).__name__}; {hint}')


def from_array(array: Shaped[np.ndarray, '*shape']) -> Picture:
    """Grey (H, W), BGR or BGRA, uint8 or uint16. A black and white image is `grey` however many channels it has."""
    channels = 1 if array.ndim == 2 else array.shape[2] if array.ndim == 3 else 0
    if channels not in (1, 3, 4) or array.dtype not in (np.uint8, np.uint16) or 0 in array.shape:
        raise FRExError(f'no image: {array.dtype} {array.shape}; give (H, W), (H, W, 3) or (H, W, 4), uint8 or uint16')
    if channels == 1:
        return Picture(np.dstack([array.reshape(array.shape[:2])] * 3), None, True, Metadata())
    alpha = array[:, :, 3].copy() if channels == 4 else None
    image = np.ascontiguousarray(array[:, :, :3])
    return Picture(image, alpha, is_colourless(image), Metadata())


def has_colour_channels(source: object) -> bool:
    """Whether a caller's array, or Pillow's image, has three channels for colours: as many are expected back."""
    if isinstance(source, PillowImage.Image):
        return source.mode not in GREY
    return isinstance(source, np.ndarray) and source.ndim == 3 and source.shape[2] > 1


def from_pillow(image: PillowImage.Image) -> Picture:
    """Turned upright by EXIF; 8 bit, or 16 of mode `I;16`; grey, alpha and metadata are kept.

    Raises FRExError for modes whose numbers are no colours.
    """
    if image.mode in UNREAD_MODES:
        raise FRExError(f"no image: Pillow's mode {image.mode} is not read; convert it to L, I;16, RGB or RGBA")
    image = ImageOps.exif_transpose(image)
    metadata = metadata_of(image)
    if image.mode not in ('L', 'LA', 'RGB', 'RGBA'):
        metadata = metadata._replace(icc=None)
    if image.mode.startswith('I;16'):
        return replace(from_array(np.asarray(image).astype(np.uint16)), metadata=metadata)
    has_alpha = 'A' in image.getbands() or 'a' in image.getbands() or 'transparency' in image.info
    if image.mode in GREY and 'transparency' not in image.info:
        grey, alpha = _channels(image.convert('LA'))
        return Picture(np.dstack([grey] * 3), alpha if has_alpha else None, True, metadata)
    red, green, blue, alpha = _channels(image.convert('RGBA'))
    colours = np.dstack([blue, green, red])
    return Picture(colours, alpha if has_alpha else None, is_colourless(colours), metadata)


def _channels(image: PillowImage.Image) -> list[Any]:
    return [np.ascontiguousarray(channel) for channel in np.moveaxis(np.asarray(image), 2, 0)]

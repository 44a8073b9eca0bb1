"""Pictures as Python callers have them."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped
from PIL import Image as PillowImage

from frex.errors import FRExError
from frex.restore.files.picture import Metadata, Picture, read_picture

Source = str | Path | Picture | PillowImage.Image | Shaped[np.ndarray, 'height width *channels']
"""A path, a Picture, one of Pillow's, or an array as OpenCV reads it."""


def as_picture(source: Source) -> Picture:
    """The picture that a caller means; raises FRExError, with the reason, where it is none."""
    if isinstance(source, Picture):
        return source
    if isinstance(source, str | Path):
        return read_picture(Path(source))
    return from_pillow(source) if isinstance(source, PillowImage.Image) else from_array(source)


def from_array(array: Shaped[np.ndarray, 'height width *channels']) -> Picture:
    """Grey (H, W), BGR or BGRA, uint8 or uint16."""
    channels = 1 if array.ndim == 2 else array.shape[2] if array.ndim == 3 else 0
    if channels not in (1, 3, 4) or array.dtype not in (np.uint8, np.uint16) or 0 in array.shape:
        raise FRExError(f'no picture: {array.dtype} {array.shape}; give (H, W), (H, W, 3) or (H, W, 4), uint8 or uint16')
    if channels == 1:
        return Picture(np.dstack([array.reshape(array.shape[:2])] * 3), None, True, Metadata(None, None))
    alpha = array[:, :, 3].copy() if channels == 4 else None
    return Picture(np.ascontiguousarray(array[:, :, :3]), alpha, False, Metadata(None, None))


def from_pillow(image: PillowImage.Image) -> Picture:
    """At 8 bit; grey and alpha are kept."""
    mode = 'L' if image.mode in ('1', 'L') else 'RGBA' if 'A' in image.getbands() or 'transparency' in image.info else 'RGB'
    pixels: Any = np.asarray(image.convert(mode))
    return from_array(pixels if mode == 'L' else pixels[:, :, [2, 1, 0, 3][: pixels.shape[2]]])

"""Convert the colour modes and depths of image files to grey or RGB of 8 bit, with or without alpha."""

from collections.abc import Callable
from io import BytesIO

import cv2
import numpy as np
import PIL.Image
from jaxtyping import Shaped, UInt8
from PIL import ImageCms

from frex.errors import FRExError
from frex.restore.image_io.metadata import profile_color_space

# Pillow's modes without colour, and those with colour that are read here.
GREY = ('1', 'L', 'LA', 'La', 'I;16', 'I;16B', 'I;16L')
COLOUR = ('P', 'PA', 'RGB', 'RGBA', 'RGBa', 'RGBX', 'CMYK', 'YCbCr')

Convert = Callable[[PIL.Image.Image], PIL.Image.Image]


def choose_converter(image: PIL.Image.Image) -> tuple[Convert, tuple[str, ...]]:
    """Return a function that converts any part of `image` to mode L, LA, RGB or RGBA, and notes on what the conversion changes."""
    if image.mode == 'CMYK':
        return choose_cmyk_converter(image.info.get('icc_profile'))
    mode = ('L' if image.mode in GREY else 'RGB') + ('A' if image.has_transparency_data else '')
    return lambda part: part.convert(mode), ()


def choose_cmyk_converter(icc: bytes | None) -> tuple[Convert, tuple[str, ...]]:
    """Return a function that converts CMYK images of Pillow to RGB, and one note, which says how.

    It converts to sRGB by the profile `icc` where that is a valid one for CMYK, else as Pillow does without a profile, where colours may
    differ.
    """
    try:
        if profile_color_space(icc) != 'CMYK':
            raise ImageCms.PyCMSError('no profile')
        transform = ImageCms.buildTransform(BytesIO(icc or b''), ImageCms.createProfile('sRGB'), 'CMYK', 'RGB')
    except ImageCms.PyCMSError:
        return lambda part: part.convert('RGB'), ('CMYK converted to RGB without a profile: colours may differ',)
    return lambda part: transform.apply(part), ('CMYK converted to sRGB by its profile',)


def to_eight_bit(image: Shaped[np.ndarray, '*shape']) -> UInt8[np.ndarray, '*shape']:
    """Convert an array of any shape to uint8, rounded: uint16, or floats that are clipped to 0..1. A uint8 array is returned as it is.

    Raises FRExError for other types and for floats that are not finite.
    """
    if image.dtype == np.uint8:
        return image
    if image.dtype == np.uint16:
        # OpenCV drops the axis of a single channel.
        return cv2.convertScaleAbs(image, alpha=1 / 257).reshape(image.shape)
    if not np.issubdtype(image.dtype, np.floating) or not np.isfinite(image).all():
        raise FRExError(f'no image: {image.dtype}, of which 8 bit cannot be made; give uint8, uint16 or finite floats from 0 to 1')
    return np.rint(image.clip(0, 1) * 255).astype(np.uint8)


def swap_rgb_bgr(pixels: Shaped[np.ndarray, 'height width channels']) -> Shaped[np.ndarray, 'height width channels']:
    """Swap the first and the third of three or four channels (RGB and BGR, RGBA and BGRA); one or two channels stay as they are."""
    if pixels.shape[2] < 3:
        return pixels
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)


def to_grey(image: Shaped[np.ndarray, 'height width 3']) -> Shaped[np.ndarray, 'height width 3']:
    """Return a BGR image without colour: all three channels are the luma of BT.601."""
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)

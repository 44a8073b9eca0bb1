"""Images that were uploaded, and the checks that they pass before anything is done with them."""

import os
from pathlib import Path
from typing import NamedTuple

from frex.errors import FRExError
from frex.restore.image_io.content import BY_NAME
from frex.restore.image_io.headers import SUFFIXES, open_image
from frex.restore.image_io.photo_file import Photo, read_photo
from frex.restore.image_io.pillow_warnings import collect_warnings
from frex.utils.files import open_regular
from frex.web.options import Limits

RENAME = f'{BY_NAME.partition(":")[0]}: rename it'


class Upload(NamedTuple):
    """An image that was uploaded: its file, the size in pixels, and the file of a small copy to show."""

    path: Path
    width: int
    height: int
    thumbnail: Path


def read_upload(file: Path, limits: Limits) -> Photo:
    """Read an uploaded image.

    Raises FRExError where it is too large, or `frex restore` does not read it; the message begins with the name of the file alone, since
    its folder means nothing in a browser.
    """
    try:
        return _read(file, limits)
    except FRExError as error:
        raise FRExError(str(error).removeprefix(f'{file.parent}{os.sep}')) from None


def _read(file: Path, limits: Limits) -> Photo:
    size = file.stat().st_size
    if size > limits.megabytes * 10**6:
        raise FRExError(f'{file}: {size / 1e6:.0f} MB is more than the {limits.megabytes} MB that this page takes')
    check_header(file, limits)
    photo = read_photo(file)
    check_pixels(file, photo.image.shape[1], photo.image.shape[0], limits)
    # `frex restore` would take a text file for a list of paths.
    if file.suffix.lower() not in SUFFIXES:
        raise FRExError(f'{file}: {RENAME}')
    return photo


def check_header(file: Path, limits: Limits) -> None:
    """Raise FRExError where an image has too many pixels by its header; nothing is said of a header that cannot be read."""
    try:
        with collect_warnings(), open_regular(file) as opened, open_image(opened, file) as image:
            width, height = image.size
    except FRExError:
        raise
    # Pillow raises exceptions of many classes on damaged bytes. Reading the image reports the reason.
    except Exception:
        return
    check_pixels(file, width, height, limits)


def check_pixels(file: Path, width: int, height: int, limits: Limits, upscale: float = 1.0) -> None:
    """Raise FRExError where an image of `width` x `height` pixels, or its result, has more than `limits.pixels` pixels.

    The result is `upscale` times as wide and as high. `file` is the image's name in the message.
    """
    if width * height > limits.pixels:
        raise FRExError(f'{file}: {width} x {height} is more than the {limits.megapixels} million pixels that this page takes')
    if width * height * upscale**2 > limits.pixels:
        raise FRExError(
            f'{file}: {width} x {height} scaled by {upscale:g} is more than the {limits.megapixels} million pixels that this page '
            'makes: take a smaller factor'
        )

"""What a picture's file is, before its pixels are read; by content and not by suffix."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import BinaryIO

import numpy as np
import PIL.Image
from PIL import features

from frex import images
from frex.errors import FRExError
from frex.restore.files.colours import COLOUR, GREY

SUFFIXES = (*images.SUFFIXES, '.avif') if features.check('avif') else images.SUFFIXES
# Named, because Pillow would also start other programs (EPS).
FORMATS = ('PNG', 'JPEG', 'WEBP', 'BMP', 'TIFF', 'AVIF', 'GIF')

MOST_PIXELS = 250_000_000

BITS_PER_SAMPLE = 258

_pixel_limit = Lock()


@contextmanager
def opened(file: BinaryIO, path: Path) -> Iterator[PIL.Image.Image]:
    """Its header is read; raises FRExError where the picture is too large."""
    # Pillow's own limit on pixels is lower, and one for the whole process: it is lifted while a header is read.
    with _pixel_limit:
        before, PIL.Image.MAX_IMAGE_PIXELS = PIL.Image.MAX_IMAGE_PIXELS, None
        try:
            image = PIL.Image.open(file, formats=FORMATS)
        finally:
            PIL.Image.MAX_IMAGE_PIXELS = before
    with image:
        if image.width * image.height > MOST_PIXELS:
            raise FRExError(f'{path}: {image.width} x {image.height} is more than {MOST_PIXELS // 10**6} million pixels: make it smaller')
        yield image


def bits_of(image: PIL.Image.Image, file: BinaryIO) -> int:
    """A sample's, in the file: Pillow has 8 where it could be more."""
    if image.format == 'TIFF':
        return int(np.max(image.getexif().get(BITS_PER_SAMPLE, 1)))
    if image.format == 'PNG':
        file.seek(24)
        return file.read(1)[0]
    if image.format == 'AVIF':
        file.seek(0)
        # The flags high_bitdepth and twelve_bit of AV1's configuration.
        flags = file.read(4096).partition(b'av1C')[2][2:3]
        return {0x40: 10, 0x60: 12}.get(flags[0] & 0x60, 8) if flags else 8
    return 8


def check_kind(image: PIL.Image.Image, bits: int, path: Path) -> None:
    """Raises FRExError for what is neither grey nor RGB, CMYK or a palette, and for depths that are none of a picture."""
    if image.mode not in GREY + COLOUR or (image.format == 'TIFF' and bits not in (1, 2, 4, 8, 16)):
        kind = f'{image.format} of {bits} bit' if image.format == 'TIFF' else f'{image.format} of mode {image.mode}'
        raise FRExError(f'{path}: {kind} is not read here: save it as grey or RGB of 8 or 16 bit')

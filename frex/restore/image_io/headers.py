"""Tell images from other files, open them and read their headers: size, bit depth, metadata, and notes on what is not read."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import BinaryIO

import PIL.Image
from PIL import features

from frex import images
from frex.errors import FRExError
from frex.restore.image_io.color_modes import COLOUR, GREY
from frex.restore.image_io.content import START, describe_content, reads_heic
from frex.restore.image_io.metadata import EXIF_START, Metadata, descriptive_tags, to_exif_block, valid_dpi
from frex.utils.files import describe_special, open_regular

SUFFIXES = (
    *images.SUFFIXES,
    *(('.avif',) if features.check('avif') else ()),
    *(('.heic', '.heif', '.hif') if reads_heic() else ()),
)
NOT_AN_IMAGE = 'not an image by its suffix'
# Pillow's formats that may be opened. It knows others, and for one of them (EPS) it starts another program.
FORMATS = ('PNG', 'JPEG', 'WEBP', 'BMP', 'TIFF', 'AVIF', 'GIF')
# pillow-heif's format, once it is registered.
HEIF = 'HEIF'
# How the reason goes on for which a file cannot be read.
SAVE_OTHERWISE = 'is not read here: save it as grey or RGB of 8 or 16 bit'

MOST_PIXELS = 250_000_000

# Held while Pillow's own limit on pixels, which is global to the process, is lifted.
_pixel_limit = Lock()


@cache
def register_heic() -> None:
    """Let Pillow read HEIC by pillow-heif; raise ImportError where it is not installed."""
    import_module('pillow_heif').register_heif_opener()


def reason_to_pass_over(path: Path) -> str | None:
    """Return why a file in a folder is not taken for an image; None for an image, and an empty string for a folder."""
    if os.path.isdir(path):
        return ''
    # A broken link counts as an image, so that it is reported as one that cannot be read.
    if path.suffix.lower() in SUFFIXES and (os.path.isfile(path) or not os.path.exists(path)):
        return None
    special = describe_special(path)
    if special is not None:
        return special
    try:
        with open_regular(path) as file:
            return describe_content(file.read(START), path.suffix) or NOT_AN_IMAGE
    except (OSError, FRExError):
        return NOT_AN_IMAGE


@contextmanager
def open_image(file: BinaryIO, path: Path) -> Iterator[PIL.Image.Image]:
    """Yield Pillow's image of a file, of which only the header is read; `path` is its name for messages.

    HEIC is read after `register_heic` only. Raises FRExError for more than MOST_PIXELS pixels, and Pillow's errors where the file is no
    image: PIL.UnidentifiedImageError, or others of many classes where it is damaged.
    """
    # Pillow's own limit is lower than MOST_PIXELS.
    with _pixel_limit:
        before, PIL.Image.MAX_IMAGE_PIXELS = PIL.Image.MAX_IMAGE_PIXELS, None
        try:
            image = PIL.Image.open(file, formats=(*FORMATS, HEIF) if HEIF in PIL.Image.OPEN else FORMATS)
        finally:
            PIL.Image.MAX_IMAGE_PIXELS = before
    with image:
        check_pixels(image.width, image.height, path)
        yield image


def check_pixels(width: int, height: int, path: Path) -> None:
    """Raise FRExError, which names `path`, for an image of more than MOST_PIXELS pixels."""
    if width * height > MOST_PIXELS:
        raise FRExError(f'{path}: {width} x {height} is more than {MOST_PIXELS // 10**6} million pixels: make it smaller')


def read_bit_depth(image: PIL.Image.Image, file: BinaryIO) -> int:
    """Return the bits per sample of a PNG, AVIF or HEIC, 8 for other kinds; Pillow may report 8 where the file has more.

    `file` is the open file of `image`; its position changes.
    """
    if image.format == HEIF:
        return int(image.info.get('bit_depth', 8))
    if image.format == 'PNG':
        file.seek(24)
        return file.read(1)[0]
    if image.format == 'AVIF':
        file.seek(0)
        # The flags high_bitdepth and twelve_bit of AV1's configuration.
        flags = file.read(4096).partition(b'av1C')[2][2:3]
        return {0x40: 10, 0x60: 12}.get(flags[0] & 0x60, 8) if flags else 8
    return 8


def check_mode(image: PIL.Image.Image, path: Path) -> None:
    """Raise FRExError for colour modes other than grey, RGB, YCbCr, CMYK and palettes."""
    if image.mode not in GREY + COLOUR:
        raise FRExError(f'{path}: {image.format} of mode {image.mode} {SAVE_OTHERWISE}')


# Words in XMP which say that the file also holds an HDR gain map or a video behind the image. A result does not have these.
ATTACHED = (b'Container:Directory', b'hdrgm:', b'GCamera:')


def read_metadata(image: PIL.Image.Image) -> Metadata:
    """Return the metadata of an opened image; the EXIF has the orientation that the file states, but for a TIFF.

    Of a TIFF only the tags that describe the image are kept, not its orientation, nor those that describe the file's layout. XMP that
    describes an attached gain map or video is left out.
    """
    xmp = None if _is_attached(image) else _xmp(image)
    others = (image.info.get('icc_profile') or None, valid_dpi(image.info.get('dpi')), xmp)
    if image.format == 'TIFF':
        return Metadata(to_exif_block(descriptive_tags(image.getexif())), *others)
    exif = image.info.get('exif')
    return Metadata(exif.removeprefix(EXIF_START) or None if isinstance(exif, bytes) else None, *others)


def list_unread_content(image: PIL.Image.Image) -> tuple[str, ...]:
    """Return notes on what of the file is not read: further frames, XMP that describes an attached gain map or video, and comments.

    The further images of an MPO, which viewers do not show, have no note.
    """
    return tuple(_notes(image))


def _notes(image: PIL.Image.Image) -> Iterator[str]:
    frames = getattr(image, 'n_frames', 1)
    # Phones store further shots and depth maps behind the image of a JPEG (MPO), which viewers do not show.
    if frames > 1 and image.format != 'MPO':
        yield f'the first of {frames} frames'
    if _is_attached(image):
        yield 'XMP left out: it tells of what is attached to the image'
    # The XMP of a PNG is one of its text chunks, and is kept.
    if image.info.get('comment') or any(key != 'XML:com.adobe.xmp' for key in getattr(image, 'text', {})):
        yield 'comments left out'


def _xmp(image: PIL.Image.Image) -> bytes | None:
    xmp = image.info.get('xmp')
    return xmp if isinstance(xmp, bytes) and xmp else None


def _is_attached(image: PIL.Image.Image) -> bool:
    return any(word in (_xmp(image) or b'') for word in ATTACHED)

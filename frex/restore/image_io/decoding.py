"""Decode image files to pixels and metadata.

Pillow checks that a file is complete and reads 8 bit. OpenCV reads PNG of 16 bit. `tiff` reads most TIFF files.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import BinaryIO, NamedTuple

import cv2
import numpy as np
import PIL.Image
from jaxtyping import UInt, UInt8, UInt16
from PIL import features
from tifffile import TiffPage

from frex import images
from frex.errors import FRExError
from frex.restore.image_io.color_modes import COLOUR, GREY, Convert, choose_cmyk_converter, choose_converter, swap_rgb_bgr, to_eight_bit
from frex.restore.image_io.exif import read_orientation, reset_orientation
from frex.restore.image_io.metadata import (
    EXIF_START,
    Metadata,
    descriptive_tags,
    reset_xmp_orientation,
    to_exif_block,
    valid_dpi,
)
from frex.restore.image_io.tiff import (
    ICC,
    ROWS,
    SEPARATED,
    XMP,
    TiffImage,
    is_plain,
    is_tiff,
    read_page,
    read_tag,
    read_tiff,
    rejection_reason,
)
from frex.restore.image_io.tiff import ORIENTATION as TIFF_ORIENTATION

# Pixels that are converted at a time.
STRIP_PIXELS = 4_000_000

# For each EXIF orientation: whether rows and columns are swapped, and the steps, 1 or -1, with which both are read after that.
TURNS = {
    1: (False, 1, 1),
    2: (False, 1, -1),
    3: (False, -1, -1),
    4: (False, -1, 1),
    5: (True, 1, 1),
    6: (True, 1, -1),
    7: (True, -1, -1),
    8: (True, -1, 1),
}

# How the reason goes on for which a file cannot be read.
SAVE_OTHERWISE = 'is not read here: save it as grey or RGB of 8 or 16 bit'


class Decoded(NamedTuple):
    """Upright pixels (grey, grey and alpha, BGR or BGRA), the file's metadata, and notes on what could not be read."""

    pixels: UInt[np.ndarray, 'height width channels']
    metadata: Metadata
    notes: tuple[str, ...]


def decode(path: Path) -> Decoded:
    """Read the first frame of an image file; raise FRExError where it is not an image, is truncated, or is too large."""
    try:
        with path.open('rb') as file:
            return _decode_tiff(file, path) if is_tiff(file.read(4)) else _decode_by_pillow(file, path)
    except FRExError:
        raise
    except PIL.UnidentifiedImageError:
        what = 'not an image of a kind that is read here, or a damaged one' if path.stat().st_size else 'the file is empty'
        raise FRExError(f'{path}: {what}') from None
    except MemoryError:
        raise FRExError(f'{path}: not enough memory to read it') from None
    # Decoders raise exceptions of many classes on damaged bytes.
    except Exception as error:
        raise FRExError(f'{path}: cannot be read, or is damaged ({error or type(error).__name__})') from None


def _decode_by_pillow(file: BinaryIO, path: Path) -> Decoded:
    with open_image(file, path) as image:
        bits = read_bit_depth(image, file)
        check_mode(image, path)
        image.load()
        metadata, notes = read_metadata(image), list_losses(image)
        if bits == 16 and image.format == 'PNG':
            pixels = _sixteen_bits(image, file)
        else:
            convert, said = choose_converter(image)
            pixels = _eight_bits(image, convert)
            notes += said + ((f'{bits} bit read as 8 bit',) if bits > 8 else ())
        if image.mode == 'CMYK':
            metadata = metadata._replace(icc=None)
        # Pillow turns a TIFF upright itself, and `descriptive_tags` drops its orientation, so that nothing is turned twice.
        turn = read_orientation(metadata.exif)
        return _upright(pixels, metadata, turn, turn != 1 or image.format == 'TIFF', notes)


def _decode_tiff(file: BinaryIO, path: Path) -> Decoded:
    page, frames = read_page(file)
    check_pixels(page.imagewidth, page.imagelength, path)
    reason = rejection_reason(page)
    if reason is not None:
        raise FRExError(f'{path}: {reason} {SAVE_OTHERWISE}')
    if not is_plain(page):
        return _decode_by_pillow(file, path)
    image, bits = read_tiff(file, page), int(np.atleast_1d(page.bitspersample)[0])
    metadata, notes = _tiff_metadata(file, path, page, frames)
    pixels, said = (swap_rgb_bgr(image.samples), ()) if page.photometric != SEPARATED else _from_cmyk(image, metadata.icc)
    if page.photometric == SEPARATED:
        metadata = metadata._replace(icc=None)
        said += (f'{bits} bit read as 8 bit',) if bits > 8 else ()
    turn = read_tag(page, TIFF_ORIENTATION)
    return _upright(pixels, metadata, turn if turn in TURNS else 1, True, notes + image.notes + said)


def _tiff_metadata(file: BinaryIO, path: Path, page: TiffPage, frames: int) -> tuple[Metadata, tuple[str, ...]]:
    file.seek(0)
    try:
        with open_image(file, path) as image:
            return read_metadata(image), list_losses(image)
    # Pillow does not open every TIFF.
    except (PIL.UnidentifiedImageError, SyntaxError):
        known = (read_tag(page, tag) for tag in (ICC, XMP))
        icc, xmp = (value if isinstance(value, bytes) and value else None for value in known)
        lost = tuple(f'the first of {frames} frames' for _ in range(frames > 1))
        return Metadata(icc=icc, xmp=xmp), (*lost, 'EXIF left out: it cannot be read')


def _from_cmyk(image: TiffImage, icc: bytes | None) -> tuple[UInt8[np.ndarray, 'height width channels'], tuple[str, ...]]:
    convert, notes = choose_cmyk_converter(icc)
    height, width, samples = image.samples.shape
    pixels = np.empty((height, width, samples - 1), np.uint8)
    for top in range(0, height, ROWS):
        part = to_eight_bit(image.samples[top : top + ROWS])
        inks = PIL.Image.fromarray(np.ascontiguousarray(part[:, :, :4]), 'CMYK')
        pixels[top : top + ROWS, :, :3] = swap_rgb_bgr(np.asarray(convert(inks)))
        pixels[top : top + ROWS, :, 3:] = part[:, :, 4:]
    return pixels, notes


def _upright(
    pixels: UInt[np.ndarray, 'height width channels'], metadata: Metadata, turn: int, resets_xmp: bool, notes: tuple[str, ...]
) -> Decoded:
    """Return pixels turned by the orientation `turn`, and metadata that say that they are upright; XMP is changed if `resets_xmp`."""
    exif = metadata.exif and reset_orientation(metadata.exif)
    xmp = reset_xmp_orientation(metadata.xmp) if metadata.xmp is not None and resets_xmp else metadata.xmp
    return Decoded(apply_orientation(pixels, turn), metadata._replace(exif=exif, xmp=xmp), notes)


def _eight_bits(image: PIL.Image.Image, convert: Convert) -> UInt8[np.ndarray, 'height width channels']:
    width, height = image.size
    channels = len(convert(image.crop((0, 0, 1, 1))).getbands())
    pixels = np.empty((height, width, channels), np.uint8)
    # In strips, to save memory: Pillow keeps colours in four bytes per pixel, and each of its conversions makes a copy.
    rows = max(1, STRIP_PIXELS // width)
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        strip = np.asarray(convert(image.crop((0, top, width, bottom))))
        pixels[top:bottom] = swap_rgb_bgr(strip.reshape(bottom - top, width, channels))
    return pixels


def _sixteen_bits(image: PIL.Image.Image, file: BinaryIO) -> UInt16[np.ndarray, 'height width channels']:
    file.seek(0)
    pixels = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise ValueError('OpenCV does not read it at 16 bit')
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    clear = image.info.get('transparency')
    if pixels.shape[2] == 1 and clear is not None:
        # OpenCV reads the transparent value of a grey PNG at 8 bit only.
        return np.dstack([pixels, np.where(pixels == clear, 0, 65535).astype(np.uint16)])
    return pixels


def apply_orientation(pixels: UInt[np.ndarray, 'height width channels'], turn: int) -> UInt[np.ndarray, 'new_height new_width channels']:
    """Rotate and mirror pixels as the EXIF orientation `turn`, 1 to 8, asks for."""
    exchanged, rows, columns = TURNS[turn]
    turned = pixels.transpose(1, 0, 2) if exchanged else pixels
    return np.ascontiguousarray(turned[::rows, ::columns])


SUFFIXES = (*images.SUFFIXES, '.avif') if features.check('avif') else images.SUFFIXES
# Pillow's formats that may be opened. It knows others, and for one of them (EPS) it starts another program.
FORMATS = ('PNG', 'JPEG', 'WEBP', 'BMP', 'TIFF', 'AVIF', 'GIF')

MOST_PIXELS = 250_000_000

# Held while Pillow's own limit on pixels, which is global to the process, is lifted.
_pixel_limit = Lock()


@contextmanager
def open_image(file: BinaryIO, path: Path) -> Iterator[PIL.Image.Image]:
    """Open an image and read its header only; raise FRExError where it has more than MOST_PIXELS pixels."""
    # Pillow's own limit is lower than MOST_PIXELS.
    with _pixel_limit:
        before, PIL.Image.MAX_IMAGE_PIXELS = PIL.Image.MAX_IMAGE_PIXELS, None
        try:
            image = PIL.Image.open(file, formats=FORMATS)
        finally:
            PIL.Image.MAX_IMAGE_PIXELS = before
    with image:
        check_pixels(image.width, image.height, path)
        yield image


def check_pixels(width: int, height: int, path: Path) -> None:
    """Raise FRExError for an image of more than MOST_PIXELS pixels."""
    if width * height > MOST_PIXELS:
        raise FRExError(f'{path}: {width} x {height} is more than {MOST_PIXELS // 10**6} million pixels: make it smaller')


def read_bit_depth(image: PIL.Image.Image, file: BinaryIO) -> int:
    """Return the bits per sample of a PNG or AVIF, 8 for other kinds; Pillow may report 8 where the file has more."""
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
    """Return the metadata of an opened image, with the orientation that the file states.

    Of a TIFF only the tags that describe the image are kept, not those that describe the file's layout.
    """
    xmp = None if _is_attached(image) else _xmp(image)
    others = (image.info.get('icc_profile') or None, valid_dpi(image.info.get('dpi')), xmp)
    if image.format == 'TIFF':
        return Metadata(to_exif_block(descriptive_tags(image.getexif())), *others)
    exif = image.info.get('exif')
    return Metadata(exif.removeprefix(EXIF_START) or None if isinstance(exif, bytes) else None, *others)


def list_losses(image: PIL.Image.Image) -> tuple[str, ...]:
    """Return notes on what the file holds besides its first image and its metadata, and what is therefore lost."""
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

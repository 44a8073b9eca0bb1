"""Decode an image file to upright pixels (grey or BGR, with or without alpha, 8 or 16 bit) and its metadata.

`frex.restore.image_io.tiff` reads TIFF of 8 or 16 bit without a palette and without lossy compression. OpenCV reads PNG of 16 bit, after
Pillow has checked that the file is complete. Pillow reads all other files, at 8 bit.
"""

from pathlib import Path
from typing import BinaryIO, NamedTuple

import cv2
import numpy as np
import PIL.Image
from jaxtyping import UInt, UInt8, UInt16
from tifffile import TiffPage

from frex.errors import FRExError, one_line
from frex.restore.image_io.color_modes import Convert, choose_cmyk_converter, choose_converter, swap_rgb_bgr, to_eight_bit
from frex.restore.image_io.content import BY_NAME, RAW, RAW_SUFFIXES, START, describe_content, is_heic, reads_heic
from frex.restore.image_io.exif import read_orientation, reset_orientation
from frex.restore.image_io.headers import (
    SAVE_OTHERWISE,
    check_mode,
    check_pixels,
    list_unread_content,
    open_image,
    read_bit_depth,
    read_metadata,
    register_heic,
)
from frex.restore.image_io.metadata import Metadata, reset_xmp_orientation
from frex.restore.image_io.pillow_warnings import collect_warnings
from frex.restore.image_io.tiff import (
    ICC,
    ROWS,
    SEPARATED,
    XMP,
    TiffImage,
    is_plain,
    is_raw,
    is_tiff,
    read_page,
    read_tag,
    read_tiff,
    rejection_reason,
)
from frex.restore.image_io.tiff import ORIENTATION as TIFF_ORIENTATION
from frex.utils.files import MissingFileError, open_regular
from frex.utils.jpeg import CUT_JPEG, is_cut_jpeg

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


class Decoded(NamedTuple):
    """Upright pixels (grey, grey and alpha, BGR or BGRA; uint8 or uint16), the file's metadata, and notes on what was lost or changed."""

    pixels: UInt[np.ndarray, 'height width channels']
    metadata: Metadata
    notes: tuple[str, ...]


def decode(path: Path) -> Decoded:
    """Read the first frame of an image file.

    Raises FRExError where the file is missing, is not an image, is damaged or truncated, is a camera's raw file, has more than MOST_PIXELS
    pixels, or has colours or a depth that are not read here.
    """
    start = b''
    try:
        with open_regular(path) as file, collect_warnings() as warned:
            start = file.read(START)
            decoded = _decode_kind(file, path, start)
        said = tuple(dict.fromkeys(f'Pillow: {one_line(text)}' for text in warned))
        return decoded._replace(notes=decoded.notes + said)
    except MissingFileError:
        raise FRExError(f'{path}: cannot be read (no such file)') from None
    except FRExError:
        raise
    except PIL.UnidentifiedImageError:
        raise FRExError(f'{path}: {_explain_unidentified(start, path)}') from None
    except MemoryError:
        raise FRExError(f'{path}: not enough memory to read it') from None
    # Decoders raise exceptions of many classes on damaged bytes.
    except Exception as error:
        raise FRExError(f'{path}: cannot be read, or is damaged ({error or type(error).__name__})') from None


def _decode_kind(file: BinaryIO, path: Path, start: bytes) -> Decoded:
    """Decode the file that starts with `start`."""
    if is_heic(start):
        if not reads_heic():
            raise FRExError(f'{path}: {describe_content(start, path.suffix)}')
        register_heic()
    file.seek(0)
    return _decode_tiff(file, path) if is_tiff(start) else _decode_by_pillow(file, path)


def _explain_unidentified(start: bytes, path: Path) -> str:
    if not start:
        return 'the file is empty'
    known = describe_content(start, path.suffix)
    return known if known and known != BY_NAME else 'not an image of a kind that is read here, or a damaged one'


def _decode_by_pillow(file: BinaryIO, path: Path) -> Decoded:
    with open_image(file, path) as image:
        bits = read_bit_depth(image, file)
        check_mode(image, path)
        image.load()
        _check_end(image, file)
        metadata, notes = read_metadata(image), list_unread_content(image)
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


def _check_end(image: PIL.Image.Image, file: BinaryIO) -> None:
    """Raise ValueError for a JPEG without its end that Pillow has taken for whole, because zeros fill the file."""
    if image.format in ('JPEG', 'MPO'):
        file.seek(0)
        if is_cut_jpeg(file.read()):
            raise ValueError(CUT_JPEG)


def _decode_tiff(file: BinaryIO, path: Path) -> Decoded:
    page, frames = read_page(file)
    if is_raw(page) or path.suffix.lower() in RAW_SUFFIXES:
        raise FRExError(f'{path}: {RAW}')
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
        # Pillow takes a BigTIFF of this order for a damaged one, and does not open every other TIFF either.
        if page.parent.is_bigtiff and page.parent.byteorder == '>':
            raise PIL.UnidentifiedImageError
        with open_image(file, path) as image:
            return read_metadata(image), list_unread_content(image)
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

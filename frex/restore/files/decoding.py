"""Files to pixels: Pillow says whether a picture is whole and reads 8 bits, OpenCV reads 16."""

from pathlib import Path
from typing import BinaryIO, NamedTuple

import cv2
import numpy as np
import PIL.Image
from jaxtyping import UInt, UInt8, UInt16

from frex.errors import FRExError
from frex.restore.files.colours import Convert, converter, in_opencv_order
from frex.restore.files.headers import metadata_of, notes_of
from frex.restore.files.metadata import Metadata, as_upright, as_upright_xmp, orientation
from frex.restore.files.opening import bits_of, check_kind, opened

STRIP_PIXELS = 4_000_000

# For each orientation of EXIF: whether rows and columns are exchanged, and the steps in which both are then read.
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

PHOTOMETRIC, WHITE_IS_ZERO = 262, 0


class Decoded(NamedTuple):
    """Upright pixels in one to four channels: grey, grey and alpha, BGR, BGRA; what the file says; what was lost."""

    pixels: UInt[np.ndarray, 'height width channels']
    metadata: Metadata
    notes: tuple[str, ...]


def decode(path: Path) -> Decoded:
    """Read a picture's first frame; raises FRExError where the file is none, is not whole, or is too large."""
    try:
        with path.open('rb') as file, opened(file, path) as image:
            bits = bits_of(image, file)
            check_kind(image, bits, path)
            image.load()
            return _decoded(image, bits, file)
    except FRExError:
        raise
    except PIL.UnidentifiedImageError:
        what = 'not a picture of a kind that is read here, or a damaged one' if path.stat().st_size else 'the file is empty'
        raise FRExError(f'{path}: {what}') from None
    except MemoryError:
        raise FRExError(f'{path}: not enough memory to read it') from None
    # What damaged bytes make a decoder raise is no closed list.
    except Exception as error:
        raise FRExError(f'{path}: cannot be read, or is damaged ({error or type(error).__name__})') from None


def _decoded(image: PIL.Image.Image, bits: int, file: BinaryIO) -> Decoded:
    metadata, notes = metadata_of(image), notes_of(image)
    if bits == 16 and image.mode != 'CMYK':
        pixels = _sixteen_bits(image, file)
    else:
        convert, said = converter(image)
        pixels = _eight_bits(image, convert)
        notes += said + ((f'{bits} bit read as 8 bit',) if bits > 8 else ())
    if image.mode == 'CMYK':
        metadata = metadata._replace(icc=None)
    turn = orientation(metadata.exif)
    if metadata.exif is not None:
        # Both libraries turn a TIFF themselves; its orientation is not among what is kept of it.
        pixels = upright(pixels, turn)
        metadata = metadata._replace(exif=as_upright(metadata.exif))
    if metadata.xmp is not None and (image.format == 'TIFF' or turn != 1):
        metadata = metadata._replace(xmp=as_upright_xmp(metadata.xmp))
    return Decoded(pixels, metadata, notes)


def _eight_bits(image: PIL.Image.Image, convert: Convert) -> UInt8[np.ndarray, 'height width channels']:
    width, height = image.size
    channels = len(convert(image.crop((0, 0, 1, 1))).getbands())
    pixels = np.empty((height, width, channels), np.uint8)
    # In strips: Pillow keeps colours in four bytes a pixel, and each of its conversions copies.
    rows = max(1, STRIP_PIXELS // width)
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        strip = np.asarray(convert(image.crop((0, top, width, bottom))))
        pixels[top:bottom] = in_opencv_order(strip.reshape(bottom - top, width, channels))
    return pixels


def _sixteen_bits(image: PIL.Image.Image, file: BinaryIO) -> UInt16[np.ndarray, 'height width channels']:
    file.seek(0)
    pixels = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise ValueError('OpenCV does not read it at 16 bit')
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if image.format == 'TIFF' and image.getexif().get(PHOTOMETRIC) == WHITE_IS_ZERO:
        # At 8 bit Pillow does it.
        pixels = 65535 - pixels
    clear = image.info.get('transparency')
    if pixels.shape[2] == 1 and clear is not None:
        # OpenCV knows a grey PNG's one clear value at 8 bit only.
        return np.dstack([pixels, np.where(pixels == clear, 0, 65535).astype(np.uint16)])
    return pixels


def upright(pixels: UInt[np.ndarray, 'height width channels'], turn: int) -> UInt[np.ndarray, 'new_height new_width channels']:
    """Turn and mirror as EXIF's orientation `turn` asks for."""
    exchanged, rows, columns = TURNS[turn]
    turned = pixels.transpose(1, 0, 2) if exchanged else pixels
    return np.ascontiguousarray(turned[::rows, ::columns])

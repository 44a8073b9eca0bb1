"""Files to pixels: Pillow says whether an image is whole and reads 8 bits, OpenCV reads 16."""

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

from frex import images
from frex.errors import FRExError
from frex.restore.image_io.color_modes import COLOUR, GREY, Convert, converter, in_opencv_order
from frex.restore.image_io.metadata import EXIF_START, Metadata, as_block, as_upright, as_upright_xmp, described, orientation, sound_dpi

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
    """Read an image's first frame; raises FRExError where the file is none, is not whole, or is too large."""
    try:
        with path.open('rb') as file, opened(file, path) as image:
            bits = bits_of(image, file)
            check_kind(image, bits, path)
            image.load()
            return _decoded(image, bits, file)
    except FRExError:
        raise
    except PIL.UnidentifiedImageError:
        what = 'not an image of a kind that is read here, or a damaged one' if path.stat().st_size else 'the file is empty'
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


SUFFIXES = (*images.SUFFIXES, '.avif') if features.check('avif') else images.SUFFIXES
# Named, because Pillow would also start other programs (EPS).
FORMATS = ('PNG', 'JPEG', 'WEBP', 'BMP', 'TIFF', 'AVIF', 'GIF')

MOST_PIXELS = 250_000_000

BITS_PER_SAMPLE = 258

_pixel_limit = Lock()


@contextmanager
def opened(file: BinaryIO, path: Path) -> Iterator[PIL.Image.Image]:
    """Its header is read; raises FRExError where the image is too large."""
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
    """Raises FRExError for what is neither grey nor RGB, CMYK or a palette, and for depths that are none of an image."""
    if image.mode not in GREY + COLOUR or (image.format == 'TIFF' and bits not in (1, 2, 4, 8, 16)):
        kind = f'{image.format} of {bits} bit' if image.format == 'TIFF' else f'{image.format} of mode {image.mode}'
        raise FRExError(f'{path}: {kind} is not read here: save it as grey or RGB of 8 or 16 bit')


# In XMP: the file goes on behind the image, with a brighter copy or a film, which a result has not.
ATTACHED = (b'Container:Directory', b'hdrgm:', b'GCamera:')


def metadata_of(image: PIL.Image.Image) -> Metadata:
    """As the file has it, for its own orientation; of a TIFF without what describes the file."""
    xmp = None if _is_attached(image) else _xmp(image)
    others = (image.info.get('icc_profile') or None, sound_dpi(image.info.get('dpi')), xmp)
    if image.format == 'TIFF':
        return Metadata(as_block(described(image.getexif())), *others)
    exif = image.info.get('exif')
    return Metadata(exif.removeprefix(EXIF_START) or None if isinstance(exif, bytes) else None, *others)


def notes_of(image: PIL.Image.Image) -> tuple[str, ...]:
    """What the file has beside its first image and its metadata."""
    return tuple(_notes(image))


def _notes(image: PIL.Image.Image) -> Iterator[str]:
    frames = getattr(image, 'n_frames', 1)
    # Phones keep other takes and depth behind a JPEG's image, which no viewer shows.
    if frames > 1 and image.format != 'MPO':
        yield f'the first of {frames} frames'
    if _is_attached(image):
        yield 'XMP left out: it tells of what is attached to the image'
    # A PNG's XMP is one of its texts.
    if image.info.get('comment') or any(key != 'XML:com.adobe.xmp' for key in getattr(image, 'text', {})):
        yield 'comments left out'


def _xmp(image: PIL.Image.Image) -> bytes | None:
    xmp = image.info.get('xmp')
    return xmp if isinstance(xmp, bytes) and xmp else None


def _is_attached(image: PIL.Image.Image) -> bool:
    return any(word in (_xmp(image) or b'') for word in ATTACHED)

"""What each kind of image file can hold."""

from typing import NamedTuple

import numpy as np
import PIL.Image
from jaxtyping import UInt
from PIL import features

from frex.errors import FRExError
from frex.restore.image_io.color_modes import to_eight_bit
from frex.restore.image_io.metadata import EXIF_START, Metadata, as_block, described, profile_space

Pixels = UInt[np.ndarray, 'height width channels']
Fitted = UInt[np.ndarray, 'height width stored_channels']


MOST_BYTES = 2**31 - 1


class Format(NamedTuple):
    """`name`: Pillow's; `longest`: pixels of a side; `exif` and `xmp`: bytes of them that fit."""

    name: str
    alpha: bool
    sixteen_bits: bool
    exif: int
    icc: bool
    longest: int
    dpi: bool
    xmp: int


PNG = Format('PNG', True, True, MOST_BYTES, True, 2**31 - 1, True, MOST_BYTES)
# JPEG's blocks have a length of 16 bit, which counts itself and the leading `Exif`, or XMP's name of 29 bytes.
JPEG = Format('JPEG', False, False, 2**16 - 1 - 2 - len(EXIF_START), True, 65500, True, 2**16 - 1 - 2 - 29)
WEBP = Format('WEBP', True, False, MOST_BYTES, True, 16383, False, MOST_BYTES)
TIFF = Format('TIFF', True, True, MOST_BYTES, True, 2**31 - 1, True, MOST_BYTES)
BMP = Format('BMP', False, False, 0, False, 2**31 - 1, True, 0)
AVIF = Format('AVIF', True, False, MOST_BYTES, True, 65536, False, MOST_BYTES)

FORMATS = {'.png': PNG, '.jpg': JPEG, '.jpeg': JPEG, '.webp': WEBP, '.tif': TIFF, '.tiff': TIFF, '.bmp': BMP}
if features.check('avif'):
    FORMATS['.avif'] = AVIF


def format_of(suffix: str) -> Format:
    """Raises FRExError for a suffix that cannot be written."""
    if suffix.lower() not in FORMATS:
        raise FRExError(f'{suffix or "no suffix"} is not a kind of image that can be written (known: {", ".join(FORMATS)})')
    return FORMATS[suffix.lower()]


def fitted(pixels: Pixels, metadata: Metadata, kind: Format) -> tuple[Fitted, Metadata, tuple[str, ...]]:
    """What `kind` can hold of an image, and what was left out; raises FRExError where its sides are too long."""
    height, width = pixels.shape[:2]
    if max(height, width) > kind.longest:
        raise FRExError(f'{width} x {height} is more than the {kind.longest} pixels that {kind.name} has for a side: write png')
    notes = []
    if pixels.dtype == np.uint16 and not kind.sixteen_bits:
        pixels = to_eight_bit(pixels)
        notes.append('16 bit written as 8 bit')
    if pixels.shape[2] in (2, 4) and not kind.alpha:
        pixels = np.ascontiguousarray(pixels[:, :, :-1])
        notes.append('alpha left out')
    if pixels.dtype == np.uint16 and pixels.shape[2] == 2:
        # Neither OpenCV nor Pillow has grey with alpha at this depth.
        pixels = pixels[:, :, [0, 0, 0, 1]]
    metadata, lost = _fitting_metadata(metadata, kind, pixels.shape[2] < 3 and kind is not WEBP)
    return pixels, metadata, tuple(f'{note}: {kind.name} cannot hold it' for note in (*notes, *lost))


def _fitting_metadata(metadata: Metadata, kind: Format, grey: bool) -> tuple[Metadata, list[str]]:
    exif, icc, dpi, xmp = metadata
    lost = []
    if exif is not None and kind.name in ('TIFF', 'AVIF'):
        exif = _rewritable(exif, kind)
    if exif is not None and len(exif) > kind.exif:
        exif = None
    if metadata.exif is not None and exif is None:
        lost.append('EXIF left out')
    if icc is not None and not (kind.icc and profile_space(icc) == ('GRAY' if grey else 'RGB')):
        icc = None
        lost.append('colour profile left out')
    if dpi is not None and not kind.dpi:
        dpi = None
        # EXIF has it too, most often.
        lost += ['resolution left out'] if exif is None else []
    if xmp is not None and len(xmp) > kind.xmp:
        xmp = None
        lost.append('XMP left out')
    return Metadata(exif, icc, dpi, xmp), lost


def _rewritable(exif: bytes, kind: Format) -> bytes | None:
    """Pillow writes the tags of these anew; None where it cannot."""
    try:
        tags = PIL.Image.Exif()
        tags.load(exif)
        return as_block(described(tags) if kind.name == 'TIFF' else tags)
    # What a damaged block makes Pillow raise is no closed list.
    except Exception:
        return None

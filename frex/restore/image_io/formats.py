"""Reduce an image and its metadata to what each file format can hold."""

from typing import NamedTuple

import numpy as np
import PIL.Image
from jaxtyping import UInt
from PIL import features

from frex.errors import FRExError
from frex.restore.image_io.color_modes import to_eight_bit
from frex.restore.image_io.metadata import EXIF_START, Metadata, descriptive_tags, profile_color_space, to_exif_block

Pixels = UInt[np.ndarray, 'height width channels']
StoredPixels = UInt[np.ndarray, 'height width stored_channels']


MOST_BYTES = 2**31 - 1


class Format(NamedTuple):
    """What a file format can hold.

    `name` is Pillow's name of it, `longest` the greatest width or height in pixels, and `exif` and `xmp` the greatest number of bytes of
    each. `alpha`, `sixteen_bits`, `icc` and `dpi` say whether the format has them.
    """

    name: str
    alpha: bool
    sixteen_bits: bool
    exif: int
    icc: bool
    longest: int
    dpi: bool
    xmp: int


PNG = Format('PNG', True, True, MOST_BYTES, True, 2**31 - 1, True, MOST_BYTES)
# The length of a JPEG segment has 16 bit, and includes its own two bytes and the leading `Exif`, or the 29 bytes of XMP's name.
JPEG = Format('JPEG', False, False, 2**16 - 1 - 2 - len(EXIF_START), True, 65500, True, 2**16 - 1 - 2 - 29)
WEBP = Format('WEBP', True, False, MOST_BYTES, True, 16383, False, MOST_BYTES)
TIFF = Format('TIFF', True, True, MOST_BYTES, True, 2**31 - 1, True, MOST_BYTES)
BMP = Format('BMP', False, False, 0, False, 2**31 - 1, True, 0)
AVIF = Format('AVIF', True, False, MOST_BYTES, True, 65536, False, MOST_BYTES)

FORMATS = {'.png': PNG, '.jpg': JPEG, '.jpeg': JPEG, '.webp': WEBP, '.tif': TIFF, '.tiff': TIFF, '.bmp': BMP}
if features.check('avif'):
    FORMATS['.avif'] = AVIF


def find_format(suffix: str) -> Format:
    """Return the format of a file suffix such as `.png`; raise FRExError for a suffix that cannot be written."""
    if suffix.lower() not in FORMATS:
        raise FRExError(f'{suffix or "no suffix"} is not a kind of image that can be written (known: {", ".join(FORMATS)})')
    return FORMATS[suffix.lower()]


def fit_to_format(pixels: Pixels, metadata: Metadata, kind: Format) -> tuple[StoredPixels, Metadata, tuple[str, ...]]:
    """Return pixels and metadata reduced to what `kind` can hold, and a note for each thing left out.

    Raises FRExError where the image is wider or higher than the format allows.
    """
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
        # Neither OpenCV nor Pillow writes grey with alpha at 16 bit.
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
    if icc is not None and not (kind.icc and profile_color_space(icc) == ('GRAY' if grey else 'RGB')):
        icc = None
        lost.append('colour profile left out')
    if dpi is not None and not kind.dpi:
        dpi = None
        # EXIF usually states the resolution as well.
        lost += ['resolution left out'] if exif is None else []
    if xmp is not None and len(xmp) > kind.xmp:
        xmp = None
        lost.append('XMP left out')
    return Metadata(exif, icc, dpi, xmp), lost


def _rewritable(exif: bytes, kind: Format) -> bytes | None:
    """Return an EXIF block that Pillow can write again in a TIFF or AVIF; None where it cannot."""
    try:
        tags = PIL.Image.Exif()
        tags.load(exif)
        return to_exif_block(descriptive_tags(tags) if kind.name == 'TIFF' else tags)
    # Pillow raises exceptions of many classes on a damaged block.
    except Exception:
        return None

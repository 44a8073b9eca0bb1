"""Write image files: reduce pixels and metadata to what the format can hold, and encode them.

OpenCV writes PNG, at 8 and 16 bit and many times faster than Pillow. TIFF is written here. Pillow writes the other formats.
"""

import struct
import zlib
from io import BytesIO
from typing import Any, BinaryIO, NamedTuple

import cv2
import numpy as np
import PIL.Image
from jaxtyping import UInt
from PIL import features
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from frex.errors import FRExError
from frex.restore.image_io.color_modes import swap_rgb_bgr, to_eight_bit
from frex.restore.image_io.exif import describe_result
from frex.restore.image_io.metadata import (
    DIRECTORIES,
    EXIF_START,
    Metadata,
    describe_result_in_xmp,
    descriptive_tags,
    profile_color_space,
    to_exif_block,
)

Pixels = UInt[np.ndarray, 'height width channels']
StoredPixels = UInt[np.ndarray, 'height width stored_channels']

# What a format holds where nothing else limits it.
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

FORMATS = {'.png': PNG, '.webp': WEBP, '.bmp': BMP, '.tif': TIFF, '.tiff': TIFF}
FORMATS |= dict.fromkeys(('.jpg', '.jpeg', '.jfif', '.jpe'), JPEG)
if features.check('avif'):
    FORMATS['.avif'] = AVIF


def find_format(suffix: str) -> Format:
    """Return the format of a file suffix such as `.png`; raise FRExError for a suffix that cannot be written."""
    if suffix.lower() not in FORMATS:
        raise FRExError(f'{suffix or "no suffix"} is not a kind of image that can be written (known: {", ".join(FORMATS)})')
    return FORMATS[suffix.lower()]


def fit_to_format(pixels: Pixels, metadata: Metadata, kind: Format) -> tuple[StoredPixels, Metadata, tuple[str, ...]]:
    """Return pixels and metadata reduced to what `kind` can hold, and a note for each thing left out.

    The metadata are made true of an image of this size: thumbnails are removed from EXIF and XMP, and the sizes in them are corrected,
    without a note. Raises FRExError where the image is wider or higher than the format allows.
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
    metadata = _describe(metadata, width, height)
    metadata, lost = _fitting_metadata(metadata, kind, pixels.shape[2] < 3 and kind is not WEBP)
    return pixels, metadata, tuple(f'{note}: {kind.name} cannot hold it' for note in (*notes, *lost))


def _describe(metadata: Metadata, width: int, height: int) -> Metadata:
    """Return metadata in which nothing is said of the input that is not true of a result of `width` x `height`."""
    exif = metadata.exif and describe_result(metadata.exif, width, height)
    return metadata._replace(exif=exif, xmp=metadata.xmp and describe_result_in_xmp(metadata.xmp, width, height))


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


# --- Encoding

# Bytes of a PNG's signature and of IHDR, its first chunk.
PNG_HEAD = 8 + 25
METRES_PER_INCH = 0.0254
# Rows that are converted and written at a time.
TIFF_ROWS = 256


def encode(file: BinaryIO, pixels: Pixels, metadata: Metadata, kind: Format, quality: int) -> None:
    """Write pixels (grey, grey with alpha, BGR or BGRA) and metadata, which `fit_to_format` has reduced to what `kind` can hold.

    `file` is open for writing. `quality` is 1 to 100, for JPEG, WebP and AVIF.
    """
    if kind is PNG:
        _write_png(file, pixels, metadata)
    elif kind is TIFF:
        _write_tiff(file, pixels, metadata)
    else:
        _write_by_pillow(file, pixels, metadata, kind, quality)


def _write_by_pillow(file: BinaryIO, pixels: Pixels, metadata: Metadata, kind: Format, quality: int) -> None:
    # Full chroma resolution: chroma subsampling blurs lips and eyes, and mixes in what is transparent.
    options: dict[str, Any] = {} if kind is BMP else {'quality': quality}
    if kind in (JPEG, AVIF):
        options['subsampling'] = '4:4:4'
    if metadata.exif:
        options['exif'] = EXIF_START + metadata.exif
    if metadata.icc:
        options['icc_profile'] = metadata.icc
    if metadata.dpi:
        options['dpi'] = metadata.dpi
    if metadata.xmp:
        options['xmp'] = metadata.xmp
    file.write(_by_pillow(pixels, kind, options))


def _by_pillow(pixels: Pixels, kind: Format, options: dict[str, Any]) -> memoryview:
    image = PIL.Image.fromarray(swap_rgb_bgr(pixels).squeeze(2) if pixels.shape[2] == 1 else swap_rgb_bgr(pixels))
    # Not written to the file directly: on a full disk Pillow stops early and raises nothing.
    buffer = BytesIO()
    image.save(buffer, kind.name, **options)
    return buffer.getbuffer()


def _write_png(file: BinaryIO, pixels: Pixels, metadata: Metadata) -> None:
    encoded = _png(pixels)
    file.write(encoded[:PNG_HEAD])
    if metadata.icc:
        file.write(_png_chunk(b'iCCP', b'ICC Profile\0\0' + zlib.compress(metadata.icc)))
    if metadata.exif:
        file.write(_png_chunk(b'eXIf', metadata.exif))
    if metadata.dpi:
        across, down = (round(dpi / METRES_PER_INCH) for dpi in metadata.dpi)
        file.write(_png_chunk(b'pHYs', struct.pack('>IIB', across, down, 1)))
    if metadata.xmp:
        file.write(_png_chunk(b'iTXt', b'XML:com.adobe.xmp\0\0\0\0\0' + metadata.xmp))
    file.write(encoded[PNG_HEAD:])


def _png(pixels: Pixels) -> memoryview:
    if pixels.shape[2] == 2:
        return _by_pillow(pixels, PNG, {'compress_level': 3})
    done, encoded = cv2.imencode('.png', pixels)
    if not done:
        raise OSError('OpenCV cannot write it')
    return encoded.data


def _png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))


def _write_tiff(file: BinaryIO, pixels: Pixels, metadata: Metadata) -> None:
    """Write an uncompressed TIFF: Pillow cannot write 16-bit colours, and OpenCV cannot write metadata."""
    tags = _tiff_tags(pixels, metadata)
    tags.save(file)
    stored = pixels.dtype.newbyteorder('<')
    for top in range(0, len(pixels), TIFF_ROWS):
        file.write(swap_rgb_bgr(pixels[top : top + TIFF_ROWS]).astype(stored).tobytes())


def _tiff_tags(pixels: Pixels, metadata: Metadata) -> ImageFileDirectory_v2:
    height, width, channels = pixels.shape
    tags = ImageFileDirectory_v2()
    if metadata.exif:
        exif = PIL.Image.Exif()
        exif.load(metadata.exif)
        for tag in exif:
            tags[tag] = exif.get_ifd(tag) if tag in DIRECTORIES else exif[tag]
    # Width, height, bits, no compression, photometric: grey or RGB, strip, samples, rows and bytes of the strip, plane.
    layout = {256: width, 257: height, 258: (pixels.itemsize * 8,) * channels, 259: 1, 262: 1 if channels < 3 else 2}
    strip = {273: (0,), 277: channels, 278: height, 279: (pixels.nbytes,), 284: 1}
    for tag, value in {**layout, **strip}.items():
        tags[tag] = value
    if channels in (2, 4):
        # The last channel is unassociated alpha: the colours are not multiplied by it.
        tags[338] = 2
    if metadata.icc:
        tags[34675] = metadata.icc
    if metadata.dpi:
        tags[282], tags[283], tags[296] = *metadata.dpi, 2
    if metadata.xmp:
        tags[700] = metadata.xmp
    return tags

"""Encode pixels and metadata as image files.

OpenCV writes PNG, at 8 and 16 bit and many times faster than Pillow. TIFF is written here. Pillow writes the other formats.
"""

import struct
import zlib
from io import BytesIO
from typing import Any, BinaryIO

import cv2
import PIL.Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from frex.restore.image_io.color_modes import swap_rgb_bgr
from frex.restore.image_io.formats import AVIF, BMP, JPEG, PNG, TIFF, WEBP, Format, Pixels
from frex.restore.image_io.metadata import DIRECTORIES, EXIF_START, Metadata

# Bytes of a PNG's signature and of IHDR, its first chunk.
PNG_HEAD = 8 + 25
METRES_PER_INCH = 0.0254
# Rows that are converted and written at a time.
TIFF_ROWS = 256


def encode(file: BinaryIO, pixels: Pixels, metadata: Metadata, kind: Format, quality: int) -> None:
    """Write pixels (grey, grey with alpha, BGR or BGRA) and metadata, which `fit_to_format` has reduced to what `kind` can hold.

    `quality` is 1 to 100, for JPEG, WebP and AVIF.
    """
    if kind is PNG:
        _write_png(file, pixels, metadata)
    elif kind is TIFF:
        _write_tiff(file, pixels, metadata)
    else:
        _write_by_pillow(file, pixels, metadata, kind, quality)


def _write_by_pillow(file: BinaryIO, pixels: Pixels, metadata: Metadata, kind: Format, quality: int) -> None:
    options: dict[str, Any] = {
        # Full chroma resolution: chroma subsampling blurs lips and eyes.
        JPEG: {'quality': quality, 'subsampling': 0},
        WEBP: {'quality': quality},
        AVIF: {'quality': quality},
        BMP: {},
    }[kind]
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

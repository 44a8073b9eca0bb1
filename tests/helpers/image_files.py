"""Image files with metadata, written by Pillow or by the specifications of their formats, and photographs as they come out of them."""

import io
import itertools
import struct
import zlib

import cv2
import numpy as np
import PIL.Image
import pytest
from PIL import ImageCms, features
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from frex.restore.image_io.metadata import Metadata
from frex.restore.image_io.photo_file import Photo

RNG = np.random.default_rng(0)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
GRAY = SRGB[:16] + b'GRAY' + SRGB[20:]
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a/></x:xmpmeta>'
ORIENTATION, MAKER, EXIF_IFD, LENS, GPS_IFD = 0x0112, 0x010F, 0x8769, 0xA434, 0x8825
needs_avif = pytest.mark.skipif(not features.check('avif'), reason='Pillow has no AVIF here')
WITH_METADATA = ['png', 'jpg', 'webp', 'tif', pytest.param('avif', marks=needs_avif)]
KINDS = [*WITH_METADATA, 'bmp']


def noise(*shape, bits=8):
    """Return random pixels of `shape` with 8 or 16 bits."""
    return RNG.integers(0, 2**bits, shape).astype(np.uint8 if bits == 8 else np.uint16)


def soft(height, width, channels=3):
    """Return pixels that lossy formats change little."""
    coarse = RNG.integers(0, 256, (4, 4, channels), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).reshape(height, width, channels)


def exif(orientation=1):
    """Return tags of the maker, the lens and the place, and the orientation."""
    tags = PIL.Image.Exif()
    tags[ORIENTATION], tags[MAKER] = orientation, 'Maker'
    tags.get_ifd(EXIF_IFD)[LENS] = 'Lens 50 mm'
    tags.get_ifd(GPS_IFD)[1] = 'N'
    return tags


def saved(path, pixels, **options):
    """Write a file with Pillow, from RGB pixels, and return its path; `options` are those of Pillow's `save`."""
    PIL.Image.fromarray(pixels).save(path, **options)
    return path


def png_16(path, pixels, chunk=b''):
    """Write a PNG of 16 bits by the specification, and return its path: colour type 0, 4, 2 or 6 for one to four channels.

    `chunk` is one more chunk: four bytes of its type, then its data.
    """

    def packed(name, data):
        return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))

    height, width, channels = pixels.shape
    head = struct.pack('>IIBBBBB', width, height, 16, (0, 4, 2, 6)[channels - 1], 0, 0, 0)
    rows = b''.join(b'\0' + row.astype('>u2').tobytes() for row in pixels)
    extra = packed(chunk[:4], chunk[4:]) if chunk else b''
    path.write_bytes(b'\x89PNG\r\n\x1a\n' + packed(b'IHDR', head) + extra + packed(b'IDAT', zlib.compress(rows)) + packed(b'IEND', b''))
    return path


def tiff(path, pixels, **tags):
    """Write an uncompressed TIFF and return its path; `tags` replace or add tags by their numbers, as t262=2."""
    height, width, channels = pixels.shape
    directory = ImageFileDirectory_v2()
    layout = {256: width, 257: height, 258: (pixels.itemsize * 8,) * channels, 259: 1, 262: 2 if channels == 3 else 1}
    strip = {273: (0,), 277: channels, 278: height, 279: (pixels.nbytes,), 284: 1}
    for tag, value in {**layout, **strip, **{int(name[1:]): value for name, value in tags.items()}}.items():
        directory[tag] = value
    file = io.BytesIO()
    directory.save(file)
    path.write_bytes(file.getvalue() + pixels.tobytes())
    return path


def cmyk_profile(lab_of):
    """Return a CMYK profile of version 2: a table with two steps for each ink.

    `lab_of` returns the Lab colour of a tuple of four inks that are each 0 or 1.
    """
    steps = itertools.product((0, 1), repeat=4)
    grid = b''.join(bytes((round(2.55 * light), a + 128, b + 128)) for light, a, b in map(lab_of, steps))
    ramp = bytes(range(256))
    table = (
        b'mft1' + bytes(4) + bytes((4, 3, 2, 0)) + struct.pack('>9i', *np.eye(3, dtype=int).ravel() * 65536) + ramp * 4 + grid + ramp * 3
    )
    sizes = struct.pack('>I4sI', 144 + len(table), b'test', 0x02100000)
    head = sizes + b'prtrCMYKLab ' + bytes(12) + b'acsp' + bytes(28) + struct.pack('>3i', 63190, 65536, 54061)
    return head.ljust(128, b'\0') + struct.pack('>I4sII', 1, b'A2B0', 144, len(table)) + table


def photo_of(image, alpha=None, grey=False, metadata=None):
    """Return a photograph as it comes out of a file; without `metadata`, of one that says nothing else."""
    return Photo(image, alpha, grey, metadata or Metadata())


def kept_exif(path):
    """Return orientation, maker, lens and the reference of the latitude from the EXIF of a file, which `exif` sets."""
    with PIL.Image.open(path) as image:
        tags = image.getexif()
        return tags.get(ORIENTATION, 1), tags.get(MAKER), tags.get_ifd(EXIF_IFD).get(LENS), tags.get_ifd(GPS_IFD).get(1)

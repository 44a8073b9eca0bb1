"""Check the metadata of image files: EXIF, colour profile, resolution and XMP; change in XMP what does not hold for a result."""

import math
import re
from typing import NamedTuple

import PIL.Image
from PIL.ExifTags import IFD, Base

EXIF_START = b'Exif\x00\x00'

# The tags of a TIFF that describe the image. Its other tags describe how the file lays out its pixels.
DESCRIPTIVE = (
    Base.ImageDescription,
    Base.Make,
    Base.Model,
    Base.XResolution,
    Base.YResolution,
    Base.ResolutionUnit,
    Base.Software,
    Base.DateTime,
    Base.Artist,
    Base.Copyright,
)
DIRECTORIES = (IFD.Exif, IFD.GPSInfo)

# JPEG stores the resolution in 16 bits.
MOST_DPI = 65535
# What comes before the number in an attribute or element of this name.
XMP_SIZE = rb'((?:tiff:Image%s|exif:Pixel%sDimension)(?:\s*=\s*["\']|>)\s*)\d+'
XMP_WIDTH, XMP_HEIGHT = re.compile(XMP_SIZE % (b'Width', b'X')), re.compile(XMP_SIZE % (b'Length', b'Y'))
XMP_THUMBNAILS = re.compile(rb'<(xmp|xap):Thumbnails>.*?</\1:Thumbnails>', re.DOTALL)
XMP_ORIENTATION = re.compile(rb'(tiff:Orientation(?:\s*=\s*["\']|>)\s*)[1-8]')


class Metadata(NamedTuple):
    """Metadata of an image; each field is None where the file has none.

    `exif` is an EXIF block without the leading `Exif` of JPEG files, `icc` a colour profile, `dpi` the horizontal and vertical
    resolution in dots per inch, and `xmp` an XMP packet.
    """

    exif: bytes | None = None
    icc: bytes | None = None
    dpi: tuple[float, float] | None = None
    xmp: bytes | None = None


def profile_color_space(icc: bytes | None) -> str:
    """Return the colour space that a profile is for, such as `RGB`, `GRAY` or `CMYK`; an empty string without a profile."""
    return icc[16:20].decode('ascii', 'replace').strip() if icc else ''


def reset_xmp_orientation(xmp: bytes) -> bytes:
    """Return an XMP packet with its orientation set to 1."""
    return XMP_ORIENTATION.sub(rb'\g<1>1', xmp)


def describe_result_in_xmp(xmp: bytes, width: int, height: int) -> bytes:
    """Return an XMP packet without thumbnails, whose sizes in pixels, where it has some, are those of the result."""
    xmp = XMP_THUMBNAILS.sub(b'', xmp)
    return XMP_HEIGHT.sub(rb'\g<1>%d' % height, XMP_WIDTH.sub(rb'\g<1>%d' % width, xmp))


def valid_dpi(given: object) -> tuple[float, float] | None:
    """Return the resolution that Pillow read as a pair of floats from 1 to MOST_DPI; None where it is not one."""
    try:
        across, down = map(float, given)  # type: ignore[call-overload]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if all(math.isfinite(dpi) and 1 <= dpi <= MOST_DPI for dpi in (across, down)) else None


def descriptive_tags(exif: PIL.Image.Exif) -> PIL.Image.Exif:
    """Return a copy of the tags of a TIFF that are in DESCRIPTIVE or DIRECTORIES: not its orientation, nor the file's layout."""
    kept = PIL.Image.Exif()
    for tag in DESCRIPTIVE:
        if tag in exif:
            kept[tag] = exif[tag]
    for directory in DIRECTORIES:
        if tags := exif.get_ifd(directory):
            kept.get_ifd(directory).update(tags)
    return kept


def to_exif_block(exif: PIL.Image.Exif) -> bytes | None:
    """Return EXIF tags as the block that `Metadata` holds; None where there is no tag."""
    if not exif and not any(exif.get_ifd(directory) for directory in DIRECTORIES):
        return None
    return exif.tobytes().removeprefix(EXIF_START)

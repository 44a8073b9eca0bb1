"""Handle the metadata of image files: EXIF, colour profile, resolution and XMP."""

import math
import re
import struct
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

# EXIF's number for the type of 16-bit integers.
SHORT = 3
# JPEG stores the resolution in 16 bits.
MOST_DPI = 65535
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


def read_orientation(exif: bytes | None) -> int:
    """Return the orientation in an EXIF block, 1 to 8; 1 where it states none or is damaged."""
    at = _orientation_at(exif or b'')
    value = struct.unpack_from(*at)[0] if at else 1
    return value if 1 <= value <= 8 else 1


def reset_orientation(exif: bytes) -> bytes:
    """Return a copy of an EXIF block with its orientation set to 1, so that no viewer turns the upright image again."""
    at = _orientation_at(exif)
    if at is None:
        return exif
    changed = bytearray(exif)
    struct.pack_into(at[0], changed, at[2], 1)
    return bytes(changed)


def reset_xmp_orientation(xmp: bytes) -> bytes:
    """Return an XMP packet with its orientation set to 1."""
    return XMP_ORIENTATION.sub(rb'\g<1>1', xmp)


def valid_dpi(given: object) -> tuple[float, float] | None:
    """Return the resolution that Pillow read as a pair of floats from 1 to MOST_DPI; None where it is not one."""
    try:
        across, down = map(float, given)  # type: ignore[call-overload]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if all(math.isfinite(dpi) and 1 <= dpi <= MOST_DPI for dpi in (across, down)) else None


def _orientation_at(exif: bytes) -> tuple[str, bytes, int] | None:
    """Return the arguments (format, buffer, offset) with which `struct.unpack_from` reads the orientation; None without one."""
    order = {b'II': '<', b'MM': '>'}.get(exif[:2])
    if order is None:
        return None
    try:
        (start,) = struct.unpack_from(f'{order}I', exif, 4)
        (count,) = struct.unpack_from(f'{order}H', exif, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            if struct.unpack_from(f'{order}HHIH', exif, entry)[:2] == (Base.Orientation, SHORT):
                return f'{order}H', exif, entry + 8
    except struct.error:
        pass
    return None


def descriptive_tags(exif: PIL.Image.Exif) -> PIL.Image.Exif:
    """Return the EXIF tags that describe the image, without those that describe the file's layout."""
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

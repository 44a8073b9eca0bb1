"""What an image's file says beside its pixels: EXIF, the colour profile, the resolution, XMP."""

import math
import re
import struct
from typing import NamedTuple

import PIL.Image
from PIL.ExifTags import IFD, Base

EXIF_START = b'Exif\x00\x00'

# What a TIFF's directory says about the image. Its other tags say how this one file lays out its pixels.
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

SHORT = 3
# What JPEG's 16 bits can hold.
MOST_DPI = 65535
XMP_ORIENTATION = re.compile(rb'(tiff:Orientation(?:\s*=\s*["\']|>)\s*)[1-8]')


class Metadata(NamedTuple):
    """`exif`: a block without the leading `Exif` of JPEG files; `icc`: a colour profile; `dpi`: across and down; `xmp`: a packet."""

    exif: bytes | None = None
    icc: bytes | None = None
    dpi: tuple[float, float] | None = None
    xmp: bytes | None = None


def profile_space(icc: bytes | None) -> str:
    """The colours that a profile is for: `RGB`, `GRAY`, `CMYK`; empty without a profile."""
    return icc[16:20].decode('ascii', 'replace').strip() if icc else ''


def orientation(exif: bytes | None) -> int:
    """1 to 8, as EXIF counts them; 1 where the block says nothing or is damaged."""
    at = _orientation_at(exif or b'')
    value = struct.unpack_from(*at)[0] if at else 1
    return value if 1 <= value <= 8 else 1


def as_upright(exif: bytes) -> bytes:
    """The same block, byte for byte, with its orientation set to 1: so no viewer turns the image again."""
    at = _orientation_at(exif)
    if at is None:
        return exif
    changed = bytearray(exif)
    struct.pack_into(at[0], changed, at[2], 1)
    return bytes(changed)


def as_upright_xmp(xmp: bytes) -> bytes:
    """The same packet with its orientation set to 1."""
    return XMP_ORIENTATION.sub(rb'\g<1>1', xmp)


def sound_dpi(given: object) -> tuple[float, float] | None:
    """What Pillow read as a resolution; None where that is none."""
    try:
        across, down = map(float, given)  # type: ignore[call-overload]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if all(math.isfinite(dpi) and 1 <= dpi <= MOST_DPI for dpi in (across, down)) else None


def _orientation_at(exif: bytes) -> tuple[str, bytes, int] | None:
    """The arguments of `struct.unpack_from` that give the orientation; None without one."""
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


def described(exif: PIL.Image.Exif) -> PIL.Image.Exif:
    """The tags that describe the image, without those that describe the file they come from."""
    kept = PIL.Image.Exif()
    for tag in DESCRIPTIVE:
        if tag in exif:
            kept[tag] = exif[tag]
    for directory in DIRECTORIES:
        if tags := exif.get_ifd(directory):
            kept.get_ifd(directory).update(tags)
    return kept


def as_block(exif: PIL.Image.Exif) -> bytes | None:
    """A block for `Metadata`; None where there is no tag."""
    if not exif and not any(exif.get_ifd(directory) for directory in DIRECTORIES):
        return None
    return exif.tobytes().removeprefix(EXIF_START)

"""Change EXIF blocks in place, so that what they say is true of the result.

Everything else stays byte for byte where it is: notes of camera makers hold offsets, which would be wrong if the tags were written again.
A block is what follows `Exif` in a JPEG: the header of a TIFF, directories (IFD) of tags, and their values.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from PIL.ExifTags import IFD, Base

SHORT, LONG = 3, 4
WIDTHS = (Base.ImageWidth, Base.ExifImageWidth)
HEIGHTS = (Base.ImageLength, Base.ExifImageHeight)
# Tags on how the input stored its pixels.
LAYOUT = (
    Base.BitsPerSample,
    Base.Compression,
    Base.PhotometricInterpretation,
    Base.StripOffsets,
    Base.SamplesPerPixel,
    Base.RowsPerStrip,
    Base.StripByteCounts,
    Base.PlanarConfiguration,
    Base.YCbCrSubSampling,
    Base.CompressedBitsPerPixel,
)
# Tags in pixels of the input; they are wrong where it was scaled or turned.
SUBJECT_AREA = 0x9214
PLACES = (SUBJECT_AREA, Base.SubjectLocation, Base.FocalPlaneXResolution, Base.FocalPlaneYResolution)
# Where a thumbnail lies, and how long it is: one as JPEG, and one without compression.
THUMBNAILS = ((Base.JpegIFOffset, Base.JpegIFByteCount), (Base.StripOffsets, Base.StripByteCounts))
ENTRY = 12


class Entry(NamedTuple):
    """A tag in a directory: the offset of its twelve bytes, its number, the type of its value, and the number of values."""

    at: int
    tag: int
    kind: int
    values: int


class Block:
    """A copy of an EXIF block, to be read and changed; a damaged one has as few directories and entries as can be read."""

    def __init__(self, exif: bytes) -> None:
        self.data = bytearray(exif)
        self.order = {b'II': '<', b'MM': '>'}.get(exif[:2], '')
        self.first = self._number('I', 4) or 0

    def _number(self, kind: str, at: int) -> int | None:
        try:
            return int(struct.unpack_from(f'{self.order}{kind}', self.data, at)[0]) if self.order else None
        except struct.error:
            return None

    def entries(self, directory: int) -> Iterator[Entry]:
        """Yield the entries of the directory at an offset."""
        count = self._number('H', directory) if directory else None
        for at in range(directory + 2, directory + 2 + ENTRY * (count or 0), ENTRY):
            if at + ENTRY > len(self.data):
                return
            yield Entry(at, *struct.unpack_from(f'{self.order}HHI', self.data, at))

    def find(self, directory: int, tag: int) -> Entry | None:
        """Return the entry of a tag; None where the directory lacks it."""
        return next((entry for entry in self.entries(directory) if entry.tag == tag), None)

    def value(self, entry: Entry | None) -> int | None:
        """Return the value of an entry with one whole number of 16 or 32 bit; None for others."""
        kind = {SHORT: 'H', LONG: 'I'}.get(entry.kind) if entry and entry.values == 1 else None
        return self._number(kind, entry.at + 8) if entry and kind else None

    def directories(self) -> list[int]:
        """Return the offsets of the first directory and of EXIF's own one."""
        own = self.value(self.find(self.first, IFD.Exif))
        return [self.first, own] if own else [self.first]

    def set_value(self, entry: Entry, value: int) -> None:
        """Write `value`, at least 0, as the only value of an entry.

        A 16-bit entry keeps its type where the value fits; any other becomes a 32-bit one. `entry` itself still describes the old one.
        """
        kind = SHORT if entry.kind == SHORT and value < 1 << 16 else LONG
        packed = struct.pack(f'{self.order}HI{"H" if kind == SHORT else "I"}', kind, 1, value)
        self.data[entry.at + 2 : entry.at + ENTRY] = packed.ljust(ENTRY - 2, b'\0')

    def remove(self, directory: int, tag: int) -> None:
        """Remove an entry of a directory; the following ones and the offset of the next directory move up."""
        entry = self.find(directory, tag)
        if entry is None:
            return
        count = self._number('H', directory) or 0
        end = directory + 2 + ENTRY * count + 4
        moved = self.data[entry.at + ENTRY : end]
        self.data[entry.at : entry.at + len(moved) + ENTRY] = moved + bytes(ENTRY)
        struct.pack_into(f'{self.order}H', self.data, directory, count - 1)

    def remove_all(self, tags: Sequence[int]) -> None:
        """Remove tags from the first directory and from EXIF's own one."""
        for directory in self.directories():
            for tag in tags:
                self.remove(directory, tag)

    def remove_thumbnail(self) -> None:
        """Remove the reference to the second directory, which describes the thumbnail, and the thumbnail's image.

        The image is overwritten with zeros, or cut off where it is the end of the block, so that all other offsets stay true.
        """
        end = self.first + 2 + ENTRY * (self._number('H', self.first) or 0)
        second = self._number('I', end) if self.first else None
        if not second:
            return
        struct.pack_into(f'{self.order}I', self.data, end, 0)
        for place, length in THUMBNAILS:
            start, size = (self.value(self.find(second, tag)) or 0 for tag in (place, length))
            # A damaged offset must not remove the tags.
            if start > max(end, second):
                self.data[start:] = self.data[start + size :] and bytes(size) + self.data[start + size :]


def read_orientation(exif: bytes | None) -> int:
    """Return the orientation in an EXIF block, 1 to 8; 1 where it states none or is damaged."""
    block = Block(exif or b'')
    value = block.value(block.find(block.first, Base.Orientation)) or 1
    return value if 1 <= value <= 8 else 1


def reset_orientation(exif: bytes) -> bytes:
    """Return a copy of an EXIF block with its orientation set to 1, so that no viewer turns the upright image again.

    Where it was another one, places in pixels are removed.
    """
    block = Block(exif)
    entry = block.find(block.first, Base.Orientation)
    if entry is None or block.value(entry) in (None, 1):
        return exif
    block.set_value(entry, 1)
    block.remove_all(PLACES)
    return bytes(block.data)


def describe_result(exif: bytes, width: int, height: int) -> bytes:
    """Return an EXIF block that is true of a result of `width` x `height` pixels.

    The thumbnail and tags on the storage of the input are removed, and so are places in pixels where the size is another one than the
    block says. The size is corrected where the block says it.
    """
    block = Block(exif)
    block.remove_thumbnail()
    changed = False
    for directory in block.directories():
        for entry in list(block.entries(directory)):
            size = width if entry.tag in WIDTHS else height if entry.tag in HEIGHTS else None
            if size is not None and block.value(entry) != size:
                block.set_value(entry, size)
                changed = True
    block.remove_all(LAYOUT + (PLACES if changed else ()))
    return bytes(block.data)

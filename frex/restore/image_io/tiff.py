"""Decode TIFF files of 8 and 16 bit whose pixels are grey, RGB or CMYK, with or without alpha, in one plane or several.

tifffile reads the tags of every kind of TIFF; Pillow and OpenCV know some of them only, and take others for what they are not. OpenCV,
which has libtiff, decompresses: each plane is given to it as a TIFF of its own, with one grey sample per pixel.
"""

import logging
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import cv2
import numpy as np
import tifffile
from jaxtyping import Shaped

# Tags of TIFF.
ORIENTATION, SUB_IFDS, XMP, ICC, DNG_VERSION = 274, 330, 700, 34675, 50706
# Values of the tag for the photometric interpretation.
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, SEPARATED = 0, 1, 2, 5
# The number of samples of a pixel that are its colour.
COLOUR_SAMPLES = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, SEPARATED: 4}
NAMES = {4: 'a transparency mask', 8: 'CIE Lab colours', 9: 'ICC Lab colours', 10: 'ITU Lab colours', 32803: 'raw sensor data'}
NAMES |= {32844: 'LogL colours', 32845: 'LogLuv colours', 34892: 'linear raw sensor data'}
SAMPLE_FORMATS = {2: 'signed integers', 3: 'floating-point numbers', 5: 'complex integers', 6: 'complex numbers'}
UNCOMPRESSED = 1
# Besides, LZW, both kinds of deflate, and PackBits.
LOSSLESS = (UNCOMPRESSED, 5, 8, 32946, 32773)
HORIZONTAL = 2
# Values of the tag for extra samples.
ASSOCIATED, UNASSOCIATED = 1, 2
# Compressions of Sony's, Nikon's and Pentax's raw files.
RAW_COMPRESSIONS = (32767, 34713, 65535)
MAGIC = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')
# Rows that are converted, and bytes of samples that are decompressed at a time, to save memory.
ROWS, BAND_BYTES = 256, 64 << 20

Samples = Shaped[np.ndarray, 'height width samples']

# Without a handler of its own, its warnings on damaged files would be printed.
logging.getLogger('tifffile').addHandler(logging.NullHandler())


class TiffImage(NamedTuple):
    """The samples of a TIFF as its file orders them: grey, RGB or CMYK, and alpha, if `has_alpha`; and notes on what is lost."""

    samples: Samples
    has_alpha: bool
    notes: tuple[str, ...]


def is_tiff(start: bytes) -> bool:
    """Return whether a file that starts with these bytes is a TIFF or BigTIFF."""
    return start[:4] in MAGIC


def read_page(file: BinaryIO) -> tuple[tifffile.TiffPage, int]:
    """Return the first page of a TIFF, without its pixels, and the number of pages; raise any exception where it is damaged."""
    file.seek(0)
    tiff = tifffile.TiffFile(file)
    page = tiff.pages[0]
    assert isinstance(page, tifffile.TiffPage)
    return page, len(tiff.pages)


def is_raw(page: tifffile.TiffPage) -> bool:
    """Return whether the first `page` of a TIFF is that of a camera's raw file: a small preview or data of the sensor, not the photo."""
    preview = page.subfiletype & 1 and SUB_IFDS in page.tags
    return bool(DNG_VERSION in page.tags or preview or page.compression in RAW_COMPRESSIONS or page.photometric in (32803, 34892))


def rejection_reason(page: tifffile.TiffPage) -> str | None:
    """Return the kind of a TIFF that cannot be read, such as `TIFF of 32 bit`, from its first `page`; None where it can be read.

    `headers.SAVE_OTHERWISE` continues the text to a full message.
    """
    depths = set(np.atleast_1d(page.bitspersample).tolist())
    formats = set(np.atleast_1d(page.sampleformat).tolist()) - {1, 4}
    if int(page.photometric) in NAMES:
        return f'TIFF of {NAMES[int(page.photometric)]}'
    if formats:
        return f'TIFF of {max(depths)} bit ({SAMPLE_FORMATS.get(min(formats), "of an unknown kind")})'
    if len(depths) > 1 or not depths <= {1, 2, 4, 8, 16}:
        return f'TIFF of {" and ".join(map(str, sorted(depths)))} bit'
    if is_plain(page):
        multiplied = ASSOCIATED in page.extrasamples and page.photometric in (WHITE_IS_ZERO, SEPARATED)
        return 'TIFF whose inks are multiplied by alpha' if multiplied else None
    # Pillow reads the others.
    if depths == {16} or (page.planarconfig == 2 and page.samplesperpixel != 3):
        return f'TIFF of {max(depths)} bit with {page.samplesperpixel} channels, compressed by {_name(page.compression)},'
    return None


def _name(value: int) -> str:
    return str(getattr(value, 'name', value))


def is_plain(page: tifffile.TiffPage) -> bool:
    """Return whether `read_samples` can read the image: 8 or 16 bit, no palette, no lossy compression.

    Pillow reads the others for which `rejection_reason` is None.
    """
    depths = set(np.atleast_1d(page.bitspersample).tolist())
    if page.photometric not in COLOUR_SAMPLES or page.samplesperpixel < COLOUR_SAMPLES[page.photometric]:
        return False
    stored_simply = page.compression in LOSSLESS and page.predictor in (1, HORIZONTAL) and page.fillorder == 1
    return stored_simply and len(depths) == 1 and depths <= {8, 16}


def read_tiff(file: BinaryIO, page: tifffile.TiffPage) -> TiffImage:
    """Read the pixels of a TIFF for which `is_plain` holds: alpha is straight, not premultiplied, and in grey images 0 is black.

    Channels other than the colours and one alpha are left out, with a note. Raises an exception of any class, such as ValueError, where
    the file is damaged.
    """
    samples, notes = read_samples(file, page), []
    colours, extras = COLOUR_SAMPLES[page.photometric], [int(kind) for kind in page.extrasamples]
    if not extras and page.samplesperpixel == colours + 1:
        # Many programs leave out the tag.
        extras = [UNASSOCIATED]
    alpha = next((number for number, kind in enumerate(extras) if kind in (ASSOCIATED, UNASSOCIATED)), None)
    others = samples.shape[2] - colours - (alpha is not None)
    if others:
        notes.append(f'{others} extra channel{"s" * (others > 1)} left out')
        taken = [*range(colours), *([] if alpha is None else [colours + alpha])]
        samples = np.ascontiguousarray(samples[:, :, taken])
    if page.photometric == WHITE_IS_ZERO:
        np.subtract(np.iinfo(samples.dtype).max, samples[:, :, :1], out=samples[:, :, :1])
    if alpha is not None and extras[alpha] == ASSOCIATED:
        divide_by_alpha(samples)
    return TiffImage(samples, alpha is not None, tuple(notes))


def divide_by_alpha(samples: Samples) -> None:
    """Turn premultiplied alpha into straight alpha, in place: divide the colours, uint8 or uint16, by alpha, the last channel.

    Colours greater than alpha, which are invalid, become the greatest value. Where alpha is 0, colours of 0 stay 0.
    """
    most = np.iinfo(samples.dtype).max
    for top in range(0, len(samples), ROWS):
        part = samples[top : top + ROWS]
        alpha = part[:, :, -1:].astype(np.float32)
        colours = part[:, :, :-1] * (np.float32(most) / np.maximum(alpha, 1))
        part[:, :, :-1] = np.rint(np.minimum(colours, most))


def read_tag(page: tifffile.TiffPage, tag: int) -> Any:
    """Return the value of a tag, None where it is missing."""
    found = page.tags.get(tag)
    return None if found is None else found.value


# --- Samples


class Plane(NamedTuple):
    """The strips or tiles of a TIFF that make up one plane: `first` is the number of the first one.

    A row of the plane has `row` samples, those of all pixels one after the other, `interleaved` for each pixel. `segment` is the number of
    samples in a row of a strip or tile, and `height` its number of rows; `across` of them lie side by side.
    """

    first: int
    row: int
    interleaved: int
    segment: int
    height: int
    across: int


def read_samples(file: BinaryIO, page: tifffile.TiffPage) -> Samples:
    """Decompress the samples of all planes as (height, width, samples), in the order of the file, uint8 or uint16."""
    planes = page.samplesperpixel if page.planarconfig == 2 else 1
    interleaved = page.samplesperpixel // planes
    width, height = (page.tilewidth, page.tilelength) if page.is_tiled else (page.imagewidth, min(page.rowsperstrip, page.imagelength))
    across = -(-page.imagewidth // width)
    bits = int(np.atleast_1d(page.bitspersample)[0])
    samples = np.empty((page.imagelength, page.imagewidth, page.samplesperpixel), np.uint8 if bits == 8 else np.uint16)
    for number in range(planes):
        first = number * across * -(-page.imagelength // height)
        plane = Plane(first, page.imagewidth * interleaved, interleaved, width * interleaved, height, across)
        target = samples[:, :, number] if planes > 1 else samples.reshape(page.imagelength, -1)
        _read_plane(file, page, plane, target)
    return samples


def _read_plane(file: BinaryIO, page: tifffile.TiffPage, plane: Plane, target: Shaped[np.ndarray, 'height row']) -> None:
    """Decompress a plane into `target`, some strips or rows of tiles at a time."""
    step = plane.height * max(1, BAND_BYTES // (plane.height * plane.row * target.dtype.itemsize))
    for top in range(0, len(target), step):
        band = target[top : top + step]
        first, last = (plane.first + row // plane.height * plane.across for row in (top, top + len(band) + plane.height - 1))
        segments = range(first, last)
        if page.compression == UNCOMPRESSED:
            _copy_segments(file, page, segments, plane, band)
        else:
            content = b''.join(_as_grey_tiff(file, page, segments, plane, band))
            pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
            if pixels is None or pixels.shape != band.shape or pixels.dtype != band.dtype:
                raise ValueError('its pixels are damaged')
            band[...] = pixels
        if page.predictor == HORIZONTAL:
            _undo_differences(band, plane)


def _copy_segments(file: BinaryIO, page: tifffile.TiffPage, segments: range, plane: Plane, band: Shaped[np.ndarray, 'rows row']) -> None:
    """Copy the rows of strips or tiles that are not compressed."""
    stored = band.dtype.newbyteorder(page.parent.byteorder)
    for position, number in enumerate(segments):
        down, across = divmod(position, plane.across)
        start, end, left = down * plane.height, min((down + 1) * plane.height, len(band)), across * plane.segment
        for top in range(start, end, ROWS):
            rows = band[top : min(top + ROWS, end), left : left + plane.segment]
            skipped, size = ((count * plane.segment * stored.itemsize) for count in (top - start, len(rows)))
            if skipped + size > page.databytecounts[number]:
                raise ValueError('a strip or tile is shorter than its rows')
            data = _read_segment(file, page.dataoffsets[number] + skipped, size)
            rows[...] = np.frombuffer(data, stored).reshape(len(rows), plane.segment)[:, : rows.shape[1]]


def _undo_differences(band: Shaped[np.ndarray, 'rows row'], plane: Plane) -> None:
    """Add up, in place, the differences of neighbouring pixels that the predictor stored."""
    for left in range(0, plane.row, plane.segment):
        part = band[:, left : left + plane.segment]
        for sample in range(plane.interleaved):
            np.cumsum(part[:, sample :: plane.interleaved], axis=1, dtype=band.dtype, out=part[:, sample :: plane.interleaved])


def _as_grey_tiff(
    file: BinaryIO, page: tifffile.TiffPage, segments: range, plane: Plane, band: Shaped[np.ndarray, 'rows row']
) -> Iterator[bytes]:
    """Yield the parts of a TIFF with one grey sample per pixel, of the shape of `band`, whose strips or tiles are the `segments`."""
    order = page.parent.byteorder
    parts = [_read_segment(file, page.dataoffsets[number], page.databytecounts[number]) for number in segments]
    sizes = np.array([len(part) for part in parts])
    # Width, height, bits, compression, 0 is black, order of bits, samples per pixel, one plane; the size of tiles, or the rows of a strip.
    layout = {256: plane.row, 257: len(band), 258: band.dtype.itemsize * 8, 259: int(page.compression), 262: 1, 266: page.fillorder}
    layout |= {277: 1, 284: 1} | ({322: plane.segment, 323: plane.height} if page.is_tiled else {278: plane.height})
    offsets, counts = (324, 325) if page.is_tiled else (273, 279)
    starts = 8 + np.cumsum(sizes) - sizes
    directory = 8 + int(sizes.sum())
    tables = directory + 2 + 12 * (len(layout) + 2) + 4
    entries = {tag: (1, value) for tag, value in layout.items()}
    # A single value stands in the entry itself.
    entries[offsets] = (1, 8) if len(parts) == 1 else (len(parts), tables)
    entries[counts] = (1, int(sizes[0])) if len(parts) == 1 else (len(parts), tables + 4 * len(parts))
    yield struct.pack(f'{order}2sHI', b'II' if order == '<' else b'MM', 42, directory)
    yield from parts
    yield struct.pack(f'{order}H', len(entries))
    yield from (struct.pack(f'{order}HHII', tag, 4, *entries[tag]) for tag in sorted(entries))
    yield bytes(4)
    if len(parts) > 1:
        yield np.concatenate([starts, sizes]).astype(f'{order}u4').tobytes()


def _read_segment(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    data = file.read(size)
    if len(data) < size or not size:
        raise ValueError('the file is shorter than it says: it was cut off')
    return data

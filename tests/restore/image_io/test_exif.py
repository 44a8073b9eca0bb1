"""What EXIF and XMP of a result say is true of it: no thumbnail of the input, its own size, nothing on how the input was stored."""

import io
import struct

import numpy as np
import PIL.Image
import pytest
from image_files import WITH_METADATA, photo_of, saved, soft
from PIL.ExifTags import IFD, Base

from frex.restore.image_io.exif import PLACES, SUBJECT_AREA, describe_result, read_orientation, reset_orientation
from frex.restore.image_io.metadata import EXIF_START, Metadata
from frex.restore.image_io.photo_file import read_photo, scale_photo, write_photo

SHORT, LONG, BYTES = 3, 4, 7
MAKER_NOTE = b'maker note with offsets' * 3


def thumbnail():
    """Return a JPEG, which nothing else in a block looks like."""
    file = io.BytesIO()
    PIL.Image.fromarray(soft(12, 16)).save(file, 'JPEG')
    return file.getvalue()


def block(order='<', size=(40, 24), orientation=6, image=None, after=b'', kind=SHORT):
    """Return an EXIF block as a camera writes it: two directories, a maker note, and a thumbnail with `after` behind it."""
    image = thumbnail() if image is None else image
    letter = 'H' if kind == SHORT else 'I'

    def number(tag, value, kind=SHORT, letter='H'):
        return struct.pack(f'{order}HHI{letter}', tag, kind, 1, value).ljust(12, b'\0')

    def directory(at, entries, following):
        return struct.pack(f'{order}H', len(entries)) + b''.join(entries) + struct.pack(f'{order}I', following)

    first, own, second = 8, 8 + 2 + 12 * 4 + 4, 8 + 2 + 12 * 4 + 4 + 2 + 12 * 5 + 4
    note = second + 2 + 12 * 3 + 4
    picture = note + len(MAKER_NOTE) + 8
    area = note + len(MAKER_NOTE)
    parts = [
        struct.pack(f'{order}2sHI', b'II' if order == '<' else b'MM', 42, first),
        directory(
            first,
            [
                number(Base.ImageWidth, size[0], kind, letter),
                number(Base.Orientation, orientation),
                number(Base.YCbCrSubSampling, 2),
                number(IFD.Exif, own, LONG, 'I'),
            ],
            second,
        ),
        directory(
            own,
            [
                number(Base.CompressedBitsPerPixel, 2),
                struct.pack(f'{order}HHII', SUBJECT_AREA, SHORT, 4, area),
                struct.pack(f'{order}HHII', Base.MakerNote, BYTES, len(MAKER_NOTE), note),
                number(Base.ExifImageWidth, size[0], kind, letter),
                number(Base.ExifImageHeight, size[1], kind, letter),
            ],
            0,
        ),
        directory(
            second,
            [
                number(Base.Compression, 6),
                number(Base.JpegIFOffset, picture, LONG, 'I'),
                number(Base.JpegIFByteCount, len(image), LONG, 'I'),
            ],
            0,
        ),
        MAKER_NOTE,
        struct.pack(f'{order}4H', 1, 2, 3, 4),
        image,
        after,
    ]
    return b''.join(parts)


def tags_of(exif):
    tags = PIL.Image.Exif()
    tags.load(EXIF_START + exif)
    return dict(tags), dict(tags.get_ifd(IFD.Exif)), dict(tags.get_ifd(IFD.IFD1))


@pytest.mark.parametrize('order', '<>')
@pytest.mark.parametrize('kind', [SHORT, LONG])
@pytest.mark.parametrize('after', [b'', b'behind the thumbnail'])
def test_the_thumbnail_goes_and_the_size_is_the_results(order, kind, after):
    given = block(order, kind=kind, after=after)
    result = describe_result(given, 480, 800)
    first, own, second = tags_of(result)
    assert (first[Base.ImageWidth], own[Base.ExifImageWidth], own[Base.ExifImageHeight]) == (480, 480, 800)
    assert second == {}
    assert thumbnail()[:20] not in result
    assert result.endswith(after)
    assert own[Base.MakerNote] == MAKER_NOTE
    # The note lies where it lay: it may hold offsets.
    assert result.index(MAKER_NOTE) == given.index(MAKER_NOTE)
    assert not {Base.YCbCrSubSampling, Base.CompressedBitsPerPixel, *PLACES} & {*first, *own}


def test_a_size_of_more_than_16_bit_fits():
    _, own, _ = tags_of(describe_result(block(), 70000, 100))
    assert own[Base.ExifImageWidth] == 70000


def test_places_stay_where_the_image_is_neither_scaled_nor_turned():
    same = describe_result(reset_orientation(block(orientation=1)), 40, 24)
    assert tags_of(same)[1][SUBJECT_AREA] == (1, 2, 3, 4)
    assert SUBJECT_AREA not in tags_of(describe_result(block(orientation=1), 41, 24))[1]
    turned = reset_orientation(block(orientation=3))
    assert read_orientation(turned) == 1
    assert SUBJECT_AREA not in tags_of(describe_result(turned, 40, 24))[1]


def test_a_block_without_any_of_this_stays_as_it_is():
    tags = PIL.Image.Exif()
    tags[Base.Make] = 'Maker'
    exif = tags.tobytes().removeprefix(EXIF_START)
    assert describe_result(exif, 8, 8) == exif


@pytest.mark.parametrize('order', '<>')
def test_damaged_blocks_are_no_obstacle(order):
    """Each byte is damaged in turn, and the block is cut at each length."""
    whole = block(order, image=b'JPEG')
    for at in range(len(whole)):
        for damaged in (whole[:at], whole[:at] + b'\xff' + whole[at + 1 :], whole[:at] + b'\0' + whole[at + 1 :]):
            result = describe_result(reset_orientation(damaged), 480, 800)
            assert len(result) <= len(damaged)
            assert 1 <= read_orientation(result) <= 8


# Pillow writes no thumbnails into a TIFF.
@pytest.mark.parametrize('kind', [kind for kind in WITH_METADATA if kind != 'tif'])
@pytest.mark.parametrize('target', WITH_METADATA)
def test_results_of_every_format_say_what_is_true(kind, target, tmp_path):
    saved(tmp_path / f'a.{kind}', soft(24, 40), exif=EXIF_START + block())
    read = read_photo(tmp_path / f'a.{kind}')
    assert read.image.shape[:2] == (40, 24)
    write_photo(tmp_path / f'b.{target}', scale_photo(read, 2))
    with PIL.Image.open(tmp_path / f'b.{target}') as image:
        tags = image.getexif()
        own = tags.get_ifd(IFD.Exif)
        assert image.size == (48, 80) == (own[Base.ExifImageWidth], own[Base.ExifImageHeight])
        assert tags.get(Base.Orientation, 1) == 1
        assert not tags.get_ifd(IFD.IFD1)
        assert MAKER_NOTE in own[Base.MakerNote]
    assert thumbnail()[30:60] not in (tmp_path / f'b.{target}').read_bytes()


def test_sizes_and_thumbnails_in_xmp_are_the_results(tmp_path):
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:ImageWidth="40" exif:PixelYDimension = \'24\' other:ImageWidth="7"/>'
        b'<exif:PixelXDimension>40</exif:PixelXDimension><tiff:ImageLength>24</tiff:ImageLength>'
        b'<xmp:Thumbnails><rdf:Alt>\n/9j/4AAQ</rdf:Alt></xmp:Thumbnails></x:xmpmeta>'
    )
    write_photo(tmp_path / 'a.png', photo_of(np.zeros((480, 800, 3), np.uint8), metadata=Metadata(xmp=xmp)))
    assert read_photo(tmp_path / 'a.png').metadata.xmp == (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:ImageWidth="800" exif:PixelYDimension = \'480\' other:ImageWidth="7"/>'
        b'<exif:PixelXDimension>800</exif:PixelXDimension><tiff:ImageLength>480</tiff:ImageLength></x:xmpmeta>'
    )

"""What image files say beside their pixels: orientation, EXIF, colour profile, resolution and XMP are kept, or said to be left out."""

import numpy as np
import PIL.Image
import pytest
from image_files import ORIENTATION, SRGB, WITH_METADATA, XMP, exif, kept_exif, noise, photo_of, png_16, saved, soft, tiff
from PIL import ImageOps

from frex.restore.image_io.color_modes import to_eight_bit
from frex.restore.image_io.metadata import valid_dpi
from frex.restore.image_io.photo_file import Metadata, read_photo, write_photo


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('kind', WITH_METADATA)
def test_each_orientation_is_turned_upright_and_then_says_so(kind, orientation, tmp_path):
    path, again = tmp_path / f'a.{kind}', tmp_path / f'b.{kind}'
    saved(path, soft(24, 40), exif=exif(orientation).tobytes())
    with PIL.Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert('RGB'))
    read = read_photo(path)
    assert np.array_equal(read.image[..., ::-1], expected)
    write_photo(again, read)
    assert kept_exif(again) == (1, 'Maker', 'Lens 50 mm', 'N')
    assert read_photo(again).image.shape == read.image.shape


@pytest.mark.parametrize('orientation', range(1, 9))
def test_sixteen_bits_are_turned_upright(orientation, tmp_path):
    pixels = noise(3, 5, 3, bits=16)
    # Pillow turns the high byte of each channel upright.
    tags = PIL.Image.Exif()
    tags[ORIENTATION] = orientation
    plain = PIL.Image.fromarray((pixels >> 8).astype(np.uint8))
    plain.getexif()[ORIENTATION] = orientation
    expected = np.asarray(ImageOps.exif_transpose(plain))
    png = read_photo(png_16(tmp_path / 'a.png', pixels, b'eXIf' + tags.tobytes()[6:]))
    assert np.array_equal(png.image[..., ::-1] >> 8, expected)
    assert png.image.dtype == np.uint16
    assert np.array_equal(read_photo(tiff(tmp_path / 'a.tif', pixels, t274=orientation)).image, png.image)


def test_all_of_exif_but_the_orientation_is_kept_byte_for_byte(tmp_path):
    # A maker note holds offsets, which would be wrong if the tags were written again.
    block = exif(6).tobytes() + b'note' * 50
    path = saved(tmp_path / 'a.jpg', soft(8, 8), exif=block)
    write_photo(tmp_path / 'b.jpg', read_photo(path))
    with PIL.Image.open(tmp_path / 'b.jpg') as image:
        changed = [index for index, (new, old) in enumerate(zip(image.info['exif'], block, strict=True)) if new != old]
    assert len(changed) == 1


@pytest.mark.filterwarnings('ignore:Corrupt EXIF')
@pytest.mark.parametrize('block', [b'', b'II', b'MM\0*\0\0\0\x08\xff\xff', b'II*\0\xff\xff\xff\xff', b'nonsense' * 9])
def test_damaged_exif_does_not_spoil_an_image(block, tmp_path):
    pixels = soft(8, 12)
    assert np.array_equal(read_photo(saved(tmp_path / 'a.png', pixels, exif=b'Exif\0\0' + block)).image[..., ::-1], pixels)
    for kind in ('tif', 'jpg', 'webp'):
        write_photo(tmp_path / f'b.{kind}', photo_of(pixels, metadata=Metadata(block, None)))
        assert read_photo(tmp_path / f'b.{kind}').image.shape == (8, 12, 3)


@pytest.mark.parametrize('kind', WITH_METADATA)
def test_the_colour_profile_survives(kind, tmp_path):
    read = read_photo(saved(tmp_path / f'a.{kind}', soft(8, 12), icc_profile=SRGB))
    assert read.metadata.icc == SRGB
    assert write_photo(tmp_path / f'b.{kind}', read) == ()
    with PIL.Image.open(tmp_path / f'b.{kind}') as image:
        assert image.info['icc_profile'] == SRGB


@pytest.mark.parametrize('channels', [1, 2, 3, 4])
@pytest.mark.parametrize('kind', [*WITH_METADATA, 'bmp'])
def test_the_resolution_and_xmp_survive_where_the_format_has_them(kind, channels, tmp_path):
    alpha = noise(8, 12) if channels in (2, 4) and kind not in ('jpg', 'bmp') else None
    given = photo_of(soft(8, 12, 1).repeat(3, axis=2), alpha, channels < 3, Metadata(None, None, (300.0, 150.0), XMP))
    notes = write_photo(tmp_path / f'b.{kind}', given)
    with PIL.Image.open(tmp_path / f'b.{kind}') as image:
        image.load()
        dpi, xmp = image.info.get('dpi'), image.info.get('xmp')
    assert [note.split(':')[0] for note in notes] == ['resolution left out'] * (dpi is None) + ['XMP left out'] * (xmp is None)
    assert (dpi is None) == (kind in ('webp', 'avif'))
    assert (xmp is None) == (kind == 'bmp')
    kept = read_photo(tmp_path / f'b.{kind}').metadata
    assert kept.dpi is None or kept.dpi == pytest.approx((300, 150), abs=0.02)
    assert kept.xmp in (None, XMP)


def test_xmp_of_a_turned_image_says_upright(tmp_path):
    sideways = XMP.replace(b'<a/>', b'<rdf:Description tiff:Orientation="6"/>')
    read = read_photo(saved(tmp_path / 'a.jpg', soft(8, 12), exif=exif(6).tobytes(), xmp=sideways))
    assert read.image.shape == (12, 8, 3)
    assert read.metadata.xmp == sideways.replace(b'"6"', b'"1"')


def test_xmp_of_what_is_attached_and_comments_are_left_out_and_said(tmp_path):
    attached = XMP.replace(b'<a/>', b'<Container:Directory/>')
    read = read_photo(saved(tmp_path / 'a.jpg', soft(8, 12), xmp=attached, comment=b'by hand'))
    assert read.metadata.xmp is None
    assert read.notes == ('XMP left out: it tells of what is attached to the image', 'comments left out')


def test_xmp_that_is_too_long_for_a_jpeg_is_left_out_and_said(tmp_path):
    long = photo_of(soft(8, 8), metadata=Metadata(xmp=XMP + b' ' * 70000))
    assert write_photo(tmp_path / 'a.jpg', long) == ('XMP left out: JPEG cannot hold it',)
    longest = photo_of(soft(8, 8), metadata=Metadata(xmp=XMP.ljust(65504)))
    assert write_photo(tmp_path / 'a.jpg', longest) == ()


@pytest.mark.parametrize('dpi', [(0, 0), (float('nan'), 72), (1e9, 1e9), 'x', None, (72,)])
def test_a_resolution_without_sense_is_none(dpi):
    assert valid_dpi(dpi) is None


@pytest.mark.parametrize(
    ('kind', 'notes'),
    [
        ('png', ()),
        ('tiff', ()),
        ('webp', ('16 bit written as 8 bit: WEBP cannot hold it',)),
        ('jpg', ('16 bit written as 8 bit: JPEG cannot hold it', 'alpha left out: JPEG cannot hold it')),
        (
            'bmp',
            tuple(
                f'{lost}: BMP cannot hold it'
                for lost in ('16 bit written as 8 bit', 'alpha left out', 'EXIF left out', 'colour profile left out')
            ),
        ),
    ],
)
def test_what_a_format_cannot_hold_is_left_out_and_said(kind, notes, tmp_path):
    image = np.full((8, 8, 3), (1000, 30000, 65535), np.uint16)
    whole = photo_of(image, np.full((8, 8), 65535, np.uint16), metadata=Metadata(exif().tobytes()[6:], SRGB))
    assert write_photo(tmp_path / f'a.{kind}', whole, quality=100) == notes
    # The expected values are 1000 / 257 and so on.
    assert np.abs(to_eight_bit(read_photo(tmp_path / f'a.{kind}').image).astype(int) - (4, 117, 255)).max() <= 3


def test_exif_that_is_too_long_for_a_jpeg_is_left_out_and_said(tmp_path):
    long = photo_of(soft(8, 8), metadata=Metadata(exif().tobytes()[6:] + bytes(70000), None))
    assert write_photo(tmp_path / 'a.jpg', long) == ('EXIF left out: JPEG cannot hold it',)
    assert write_photo(tmp_path / 'a.png', long) == ()


def test_a_tiffs_result_says_nothing_about_the_layout_of_the_file_it_came_from(tmp_path):
    # Phones write the width and height to EXIF.
    tags = exif()
    tags[256], tags[257] = 4000, 3000
    pixels = soft(8, 12)
    write_photo(tmp_path / 'a.tif', photo_of(pixels, metadata=Metadata(tags.tobytes()[6:], None)))
    assert np.array_equal(read_photo(tmp_path / 'a.tif').image, pixels)
    assert kept_exif(tmp_path / 'a.tif') == (1, 'Maker', 'Lens 50 mm', 'N')

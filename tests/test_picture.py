"""Tests of reading images upright and complete, and of writing them with their metadata."""

import io
import itertools
import os
import resource
import struct
import subprocess
import sys
import threading
import zlib

import cv2
import numpy as np
import PIL.Image
import pytest
from PIL import ImageCms, ImageOps, features
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from frex.errors import FRExError
from frex.restore.image_io.color_modes import to_eight_bit
from frex.restore.image_io.metadata import Metadata, valid_dpi
from frex.restore.image_io.photo_file import Photo, read_photo, scale_photo, write_photo

RNG = np.random.default_rng(0)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
GRAY = SRGB[:16] + b'GRAY' + SRGB[20:]
ORIENTATION, MAKER, EXIF_IFD, LENS, GPS_IFD = 0x0112, 0x010F, 0x8769, 0xA434, 0x8825
needs_avif = pytest.mark.skipif(not features.check('avif'), reason='Pillow has no AVIF here')
WITH_METADATA = ['png', 'jpg', 'webp', 'tif', pytest.param('avif', marks=needs_avif)]
KINDS = [*WITH_METADATA, 'bmp']


def noise(*shape, bits=8):
    return RNG.integers(0, 2**bits, shape).astype(np.uint8 if bits == 8 else np.uint16)


def smooth(height, width, channels=3):
    coarse = RNG.integers(0, 256, (4, 4, channels), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).reshape(height, width, channels)


def exif(orientation=1):
    tags = PIL.Image.Exif()
    tags[ORIENTATION], tags[MAKER] = orientation, 'Maker'
    tags.get_ifd(EXIF_IFD)[LENS] = 'Lens 50 mm'
    tags.get_ifd(GPS_IFD)[1] = 'N'
    return tags


def saved(path, pixels, **options):
    """Write a file with Pillow, from RGB pixels."""
    PIL.Image.fromarray(pixels).save(path, **options)
    return path


def png_16(path, pixels, chunk=b''):
    """Write a PNG by the specification: colour type 0, 4, 2 or 6 for one to four channels."""

    def packed(name, data):
        return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))

    height, width, channels = pixels.shape
    head = struct.pack('>IIBBBBB', width, height, 16, (0, 4, 2, 6)[channels - 1], 0, 0, 0)
    rows = b''.join(b'\0' + row.astype('>u2').tobytes() for row in pixels)
    extra = packed(chunk[:4], chunk[4:]) if chunk else b''
    path.write_bytes(b'\x89PNG\r\n\x1a\n' + packed(b'IHDR', head) + extra + packed(b'IDAT', zlib.compress(rows)) + packed(b'IEND', b''))
    return path


def tiff(path, pixels, **tags):
    """Write an uncompressed TIFF; `tags` are given as t262=2."""
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
    """Return a colour profile of version 2: a table of two steps per ink, with the colours `lab_of` four inks that are 0 or 1."""
    steps = itertools.product((0, 1), repeat=4)
    grid = b''.join(bytes((round(2.55 * light), a + 128, b + 128)) for light, a, b in map(lab_of, steps))
    ramp = bytes(range(256))
    table = (
        b'mft1' + bytes(4) + bytes((4, 3, 2, 0)) + struct.pack('>9i', *np.eye(3, dtype=int).ravel() * 65536) + ramp * 4 + grid + ramp * 3
    )
    sizes = struct.pack('>I4sI', 144 + len(table), b'test', 0x02100000)
    head = sizes + b'prtrCMYKLab ' + bytes(12) + b'acsp' + bytes(28) + struct.pack('>3i', 63190, 65536, 54061)
    return head.ljust(128, b'\0') + struct.pack('>I4sII', 1, b'A2B0', 144, len(table)) + table


def picture(image, alpha=None, grey=False, metadata=None):
    return Photo(image, alpha, grey, metadata or Metadata())


def kept_exif(path):
    with PIL.Image.open(path) as image:
        tags = image.getexif()
        return tags.get(ORIENTATION, 1), tags.get(MAKER), tags.get_ifd(EXIF_IFD).get(LENS), tags.get_ifd(GPS_IFD).get(1)


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('kind', WITH_METADATA)
def test_each_orientation_is_turned_upright_and_then_says_so(kind, orientation, tmp_path):
    path, again = tmp_path / f'a.{kind}', tmp_path / f'b.{kind}'
    saved(path, smooth(24, 40), exif=exif(orientation).tobytes())
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
    path = saved(tmp_path / 'a.jpg', smooth(8, 8), exif=block)
    write_photo(tmp_path / 'b.jpg', read_photo(path))
    with PIL.Image.open(tmp_path / 'b.jpg') as image:
        changed = [index for index, (new, old) in enumerate(zip(image.info['exif'], block, strict=True)) if new != old]
    assert len(changed) == 1


@pytest.mark.filterwarnings('ignore:Corrupt EXIF')
@pytest.mark.parametrize('block', [b'', b'II', b'MM\0*\0\0\0\x08\xff\xff', b'II*\0\xff\xff\xff\xff', b'nonsense' * 9])
def test_damaged_exif_does_not_spoil_a_picture(block, tmp_path):
    pixels = smooth(8, 12)
    assert np.array_equal(read_photo(saved(tmp_path / 'a.png', pixels, exif=b'Exif\0\0' + block)).image[..., ::-1], pixels)
    for kind in ('tif', 'jpg', 'webp'):
        write_photo(tmp_path / f'b.{kind}', picture(pixels, metadata=Metadata(block, None)))
        assert read_photo(tmp_path / f'b.{kind}').image.shape == (8, 12, 3)


@pytest.mark.parametrize('kind', WITH_METADATA)
def test_the_colour_profile_survives(kind, tmp_path):
    read = read_photo(saved(tmp_path / f'a.{kind}', smooth(8, 12), icc_profile=SRGB))
    assert read.metadata.icc == SRGB
    assert write_photo(tmp_path / f'b.{kind}', read) == ()
    with PIL.Image.open(tmp_path / f'b.{kind}') as image:
        assert image.info['icc_profile'] == SRGB


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a/></x:xmpmeta>'


@pytest.mark.parametrize('channels', [1, 2, 3, 4])
@pytest.mark.parametrize('kind', [*WITH_METADATA, 'bmp'])
def test_the_resolution_and_xmp_survive_where_the_format_has_them(kind, channels, tmp_path):
    alpha = noise(8, 12) if channels in (2, 4) and kind not in ('jpg', 'bmp') else None
    given = picture(smooth(8, 12, 1).repeat(3, axis=2), alpha, channels < 3, Metadata(None, None, (300.0, 150.0), XMP))
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


def test_xmp_of_a_turned_picture_says_upright(tmp_path):
    sideways = XMP.replace(b'<a/>', b'<rdf:Description tiff:Orientation="6"/>')
    read = read_photo(saved(tmp_path / 'a.jpg', smooth(8, 12), exif=exif(6).tobytes(), xmp=sideways))
    assert read.image.shape == (12, 8, 3)
    assert read.metadata.xmp == sideways.replace(b'"6"', b'"1"')


def test_xmp_of_what_is_attached_and_comments_are_left_out_and_said(tmp_path):
    attached = XMP.replace(b'<a/>', b'<Container:Directory/>')
    read = read_photo(saved(tmp_path / 'a.jpg', smooth(8, 12), xmp=attached, comment=b'by hand'))
    assert read.metadata.xmp is None
    assert read.notes == ('XMP left out: it tells of what is attached to the image', 'comments left out')


def test_xmp_that_is_too_long_for_a_jpeg_is_left_out_and_said(tmp_path):
    long = picture(smooth(8, 8), metadata=Metadata(xmp=XMP + b' ' * 70000))
    assert write_photo(tmp_path / 'a.jpg', long) == ('XMP left out: JPEG cannot hold it',)
    longest = picture(smooth(8, 8), metadata=Metadata(xmp=XMP.ljust(65504)))
    assert write_photo(tmp_path / 'a.jpg', longest) == ()


@pytest.mark.parametrize('dpi', [(0, 0), (float('nan'), 72), (1e9, 1e9), 'x', None, (72,)])
def test_a_resolution_without_sense_is_none(dpi):
    assert valid_dpi(dpi) is None


@pytest.mark.parametrize('kind', ['png', 'tif'])
@pytest.mark.parametrize('channels', [1, 3, 4])
def test_sixteen_bits_come_back_exactly_with_profile_and_exif(kind, channels, tmp_path):
    image = noise(7, 9, 1, bits=16).repeat(3, axis=2) if channels == 1 else noise(7, 9, 3, bits=16)
    alpha = noise(7, 9, bits=16) if channels == 4 else None
    icc = GRAY if channels == 1 else SRGB
    path = tmp_path / f'a.{kind}'
    block = exif().tobytes()[6:]
    assert write_photo(path, picture(image, alpha, channels == 1, Metadata(block, icc))) == ()
    read = read_photo(path)
    assert np.array_equal(read.image, image)
    assert (read.alpha is None) if alpha is None else np.array_equal(read.alpha, alpha)
    assert (read.grey, read.metadata.icc) == (channels == 1, icc)
    assert kept_exif(path) == (1, 'Maker', 'Lens 50 mm', 'N')
    stored = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    assert (stored.dtype, stored.reshape(7, 9, -1).shape[2]) == (np.uint16, channels)


def test_a_dark_picture_of_sixteen_bits_stays_one(tmp_path):
    pixels = noise(7, 9, 3).astype(np.uint16)
    read = read_photo(png_16(tmp_path / 'a.png', pixels))
    assert read.image.dtype == np.uint16
    assert np.array_equal(read.image[..., ::-1], pixels)


def test_grey_of_sixteen_bits_stays_grey_of_sixteen_bits(tmp_path):
    pixels = noise(7, 9, 1, bits=16)
    write_photo(tmp_path / 'b.png', read_photo(png_16(tmp_path / 'a.png', pixels)))
    with PIL.Image.open(tmp_path / 'b.png') as image:
        assert image.mode == 'I;16'
        assert np.array_equal(np.asarray(image), pixels[..., 0])


def test_a_tiff_whose_zero_is_white_is_turned_round_at_both_depths(tmp_path):
    eight, sixteen = noise(3, 5, 1), noise(3, 5, 1, bits=16)
    assert np.array_equal(read_photo(tiff(tmp_path / 'a.tif', eight, t262=0)).image[..., :1], 255 - eight)
    assert np.array_equal(read_photo(tiff(tmp_path / 'b.tif', sixteen, t262=0)).image[..., :1], 65535 - sixteen)


def test_grey_with_alpha_is_kept_at_both_depths(tmp_path):
    eight, sixteen = noise(7, 9, 2), noise(7, 9, 2, bits=16)
    for pixels, path in [(eight, saved(tmp_path / 'a.png', eight)), (sixteen, png_16(tmp_path / 'b.png', sixteen))]:
        read = read_photo(path)
        for kind in ('png', 'tif'):
            assert write_photo(tmp_path / f'c.{kind}', read) == ()
            again = read_photo(tmp_path / f'c.{kind}')
            assert again.grey
            assert np.array_equal(again.image[..., 1], pixels[..., 0])
            assert np.array_equal(again.alpha, pixels[..., 1])
    write_photo(tmp_path / 'd.png', read_photo(tmp_path / 'a.png'))
    with PIL.Image.open(tmp_path / 'd.png') as image:
        assert image.mode == 'LA'


def test_one_clear_value_becomes_alpha(tmp_path):
    grey, colours = noise(3, 5, 1, bits=16), noise(3, 5, 3, bits=16)
    for pixels in (grey, colours):
        read = read_photo(png_16(tmp_path / 'a.png', pixels, b'tRNS' + pixels[1, 2].astype('>u2').tobytes()))
        assert np.argwhere(read.alpha != 65535).tolist() == [[1, 2]]
        assert read.alpha[1, 2] == 0
        assert np.array_equal(read.image[..., ::-1], np.broadcast_to(pixels, (3, 5, 3)))


@pytest.mark.parametrize('kind', ['png', 'tif', 'webp', pytest.param('avif', marks=needs_avif)])
def test_alpha_is_kept(kind, tmp_path):
    pixels = np.dstack([smooth(16, 24), smooth(16, 24, 1)])
    read = read_photo(saved(tmp_path / f'a.{kind}', pixels, **({'quality': 100} if kind == 'avif' else {})))
    write_photo(tmp_path / f'b.{kind}', read, quality=100)
    again = read_photo(tmp_path / f'b.{kind}')
    assert np.abs(again.alpha.astype(int) - pixels[..., 3]).max() <= 2
    assert again.image.shape == (16, 24, 3)


@pytest.mark.parametrize('kind', KINDS)
def test_grey_stays_grey_and_colours_stay_colours(kind, tmp_path):
    path = saved(tmp_path / f'a.{kind}', smooth(16, 24, 1)[..., 0])
    read = read_photo(path)
    assert read.grey
    write_photo(tmp_path / f'b.{kind}', read)
    assert read_photo(tmp_path / f'b.{kind}').grey
    assert not read_photo(saved(tmp_path / f'c.{kind}', smooth(16, 24))).grey


@pytest.mark.parametrize(('kind', 'mode'), [('png', 'L'), ('jpg', 'L'), ('tif', 'L'), ('bmp', 'L')])
def test_a_grey_picture_is_one_channel_even_where_its_pixels_got_a_tint(kind, mode, tmp_path):
    tinted = smooth(16, 24)
    write_photo(tmp_path / f'a.{kind}', picture(tinted, grey=True), quality=100)
    with PIL.Image.open(tmp_path / f'a.{kind}') as image:
        assert image.mode == mode
        luma = tinted @ [0.114, 0.587, 0.299]
        assert np.abs(np.asarray(image) - luma).max() < 3


def test_a_grey_picture_with_a_profile_of_colours_is_stored_in_three_channels(tmp_path):
    grey = smooth(16, 24, 1).repeat(3, axis=2)
    read = read_photo(saved(tmp_path / 'a.jpg', grey, icc_profile=SRGB))
    assert read.grey
    write_photo(tmp_path / 'b.png', read)
    with PIL.Image.open(tmp_path / 'b.png') as image:
        assert (image.mode, image.info['icc_profile']) == ('RGB', SRGB)


@pytest.mark.parametrize('kind', ['jpg', 'tif'])
def test_cmyk_becomes_the_rgb_that_pillow_makes_of_it(kind, tmp_path):
    path = tmp_path / f'a.{kind}'
    image = PIL.Image.frombytes('CMYK', (24, 16), smooth(16, 24, 4).tobytes())
    image.save(path)
    with PIL.Image.open(path) as stored:
        expected = np.asarray(stored.convert('RGB'))
    read = read_photo(path)
    assert np.array_equal(read.image[..., ::-1], expected)
    assert read.notes == ('CMYK converted to RGB without a profile: colours may differ',)


@pytest.mark.parametrize('kind', ['jpg', 'tif'])
def test_cmyk_with_a_profile_becomes_the_srgb_it_means(kind, tmp_path):
    magenta = (0, 1, 0, 0)
    icc = cmyk_profile(lambda inks: {(0, 0, 0, 0): (100, 0, 0), magenta: (60, 20, -15)}.get(inks, (0, 0, 0)))
    PIL.Image.new('CMYK', (8, 8), (0, 255, 0, 0)).save(tmp_path / f'a.{kind}', icc_profile=icc)
    read = read_photo(tmp_path / f'a.{kind}')
    # Lab (60, 20, -15) converted to sRGB by its definition.
    assert np.abs(read.image[0, 0, ::-1].astype(int) - (169, 132, 171)).max() <= 4
    assert (read.metadata.icc, read.notes) == (None, ('CMYK converted to sRGB by its profile',))


def test_a_profile_that_is_no_use_for_cmyk_is_dropped(tmp_path):
    PIL.Image.new('CMYK', (4, 4), (0, 255, 255, 0)).save(tmp_path / 'a.tif', icc_profile=SRGB[:16] + b'CMYK' + SRGB[20:])
    read = read_photo(tmp_path / 'a.tif')
    assert read.metadata.icc is None
    assert read.image[0, 0].tolist() == [0, 0, 255]


def test_palettes_become_colours_with_alpha_where_they_have_it(tmp_path):
    image = PIL.Image.new('P', (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([0, 1])
    image.save(tmp_path / 'a.png')
    image.save(tmp_path / 'b.png', transparency=1)
    plain, clear = read_photo(tmp_path / 'a.png'), read_photo(tmp_path / 'b.png')
    assert plain.image.tolist() == clear.image.tolist() == [[[30, 20, 10], [50, 100, 200]]]
    assert plain.alpha is None
    assert clear.alpha.tolist() == [[255, 0]]


def test_one_bit_becomes_grey_of_eight(tmp_path):
    PIL.Image.fromarray(np.array([[True, False]])).save(tmp_path / 'a.png')
    read = read_photo(tmp_path / 'a.png')
    assert (read.image[..., 0].tolist(), read.image.dtype, read.grey) == ([[255, 0]], np.uint8, True)


@pytest.mark.parametrize('kind', ['tif', 'webp', 'png'])
def test_the_first_of_several_frames_is_read_and_said(kind, tmp_path):
    first, second = PIL.Image.new('RGB', (8, 8), (255, 0, 0)), PIL.Image.new('RGB', (8, 8), (0, 0, 255))
    first.save(tmp_path / f'a.{kind}', save_all=True, append_images=[second], **({'lossless': True} if kind == 'webp' else {}))
    read = read_photo(tmp_path / f'a.{kind}')
    assert read.image[0, 0].tolist() == [0, 0, 255]
    assert read.notes == ('the first of 2 frames',)


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
    whole = picture(image, np.full((8, 8), 65535, np.uint16), metadata=Metadata(exif().tobytes()[6:], SRGB))
    assert write_photo(tmp_path / f'a.{kind}', whole, quality=100) == notes
    # The expected values are 1000 / 257 and so on.
    assert np.abs(to_eight_bit(read_photo(tmp_path / f'a.{kind}').image).astype(int) - (4, 117, 255)).max() <= 3


def test_exif_that_is_too_long_for_a_jpeg_is_left_out_and_said(tmp_path):
    long = picture(smooth(8, 8), metadata=Metadata(exif().tobytes()[6:] + bytes(70000), None))
    assert write_photo(tmp_path / 'a.jpg', long) == ('EXIF left out: JPEG cannot hold it',)
    assert write_photo(tmp_path / 'a.png', long) == ()


def test_a_tiffs_result_says_nothing_about_the_layout_of_the_file_it_came_from(tmp_path):
    # Phones write the width and height to EXIF.
    tags = exif()
    tags[256], tags[257] = 4000, 3000
    pixels = smooth(8, 12)
    write_photo(tmp_path / 'a.tif', picture(pixels, metadata=Metadata(tags.tobytes()[6:], None)))
    assert np.array_equal(read_photo(tmp_path / 'a.tif').image, pixels)
    assert kept_exif(tmp_path / 'a.tif') == (1, 'Maker', 'Lens 50 mm', 'N')


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('part', [0.02, 0.5, 0.9])
def test_half_a_file_is_no_picture(kind, part, tmp_path):
    path = saved(tmp_path / f'a.{kind}', noise(64, 96, 3))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    with pytest.raises(FRExError, match=rf'a\.{kind}: '):
        read_photo(path)


@pytest.mark.parametrize('kind', ['png', 'tif'])
def test_half_a_file_of_sixteen_bits_is_no_picture(kind, tmp_path):
    path = tmp_path / f'a.{kind}'
    write_photo(path, picture(noise(64, 96, 3, bits=16)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(FRExError, match=r'damaged'):
        read_photo(path)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', 'the file is empty'),
        (b'no image, but text', 'not an image of a kind that is read here, or a damaged one'),
        (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n', 'not an image of a kind'),
    ],
)
def test_what_is_no_picture_is_refused_in_one_line(content, message, tmp_path):
    path = tmp_path / 'a.png'
    path.write_bytes(content)
    with pytest.raises(FRExError, match=message) as error:
        read_photo(path)
    assert str(path) in str(error.value)
    assert '\n' not in str(error.value)


def test_folders_missing_files_and_links_to_themselves_are_refused(tmp_path):
    (tmp_path / 'loop.png').symlink_to(tmp_path / 'loop.png')
    for path in (tmp_path, tmp_path / 'missing.png', tmp_path / 'loop.png'):
        with pytest.raises(FRExError, match=f'{path}: cannot be read'):
            read_photo(path)


@pytest.mark.parametrize('values', [noise(4, 4).astype(np.float32), noise(4, 4).astype(np.int32)])
def test_depths_that_are_none_of_a_picture_are_refused(values, tmp_path):
    saved(tmp_path / 'a.tif', values)
    with pytest.raises(FRExError, match='TIFF of 32 bit is not read here: save it as grey or RGB of 8 or 16 bit'):
        read_photo(tmp_path / 'a.tif')


def test_a_picture_of_one_pixel_is_one(tmp_path):
    for kind in ('png', 'jpg', 'tif', 'bmp', 'webp'):
        path = saved(tmp_path / f'a.{kind}', np.full((1, 1, 3), 128, np.uint8))
        write_photo(path, scale_photo(read_photo(path), 2))
        assert read_photo(path).image.shape == (2, 2, 3)


def test_too_many_pixels_are_refused_by_the_header_alone(tmp_path):
    path = png_16(tmp_path / 'a.png', noise(1, 1, 3, bits=16))
    head = struct.pack('>IIBBBBB', 20000, 20000, 8, 2, 0, 0, 0)
    data = path.read_bytes()
    path.write_bytes(data[:16] + head + struct.pack('>I', zlib.crc32(b'IHDR' + head)) + data[33:])
    with pytest.raises(FRExError, match='20000 x 20000 is more than 250 million pixels'):
        read_photo(path)


def test_a_hundred_megapixels_are_read_in_bounded_memory(tmp_path):
    path = tmp_path / 'a.png'
    cv2.imwrite(str(path), np.full((10000, 10000, 3), (10, 20, 30), np.uint8))
    code = (
        'import resource, sys\nfrom pathlib import Path\nfrom frex.restore.image_io.photo_file import read_photo\n'
        'before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n'
        'image = read_photo(Path(sys.argv[1])).image\n'
        'assert image.shape == (10000, 10000, 3) and image[-1, -1].tolist() == [10, 20, 30]\n'
        'print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)'
    )
    grown = int(subprocess.run([sys.executable, '-W', 'error', '-c', code, path], capture_output=True, text=True, check=True).stdout)
    # The pixels take 286 MiB, and Pillow's own copy of them 381 MiB.
    assert grown < 800


def test_pillows_own_limit_is_left_as_it_was(tmp_path):
    before = PIL.Image.MAX_IMAGE_PIXELS
    path = saved(tmp_path / 'a.png', smooth(8, 8))
    threads = [threading.Thread(target=read_photo, args=(path,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert before == PIL.Image.MAX_IMAGE_PIXELS


def test_names_of_any_script_and_of_greatest_length_work(tmp_path):
    # The name has 241 bytes, and the temporary name beside it 255.
    for name in ('фото 写真 😀.png', 'é' * 118 + 'x.png'):
        pixels = noise(4, 4, 3)
        write_photo(tmp_path / name, picture(pixels))
        assert np.array_equal(read_photo(tmp_path / name).image, pixels)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / 'a.jpg'
    write_photo(path, picture(smooth(8, 8)))
    before = path.read_bytes()

    def full(*_args, **_options):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(PIL.Image.Image, 'save', full)
    with pytest.raises(FRExError, match=r'a\.jpg: cannot be written .*No space left') as error:
        write_photo(path, picture(noise(8, 8, 3)))
    assert error.value.__cause__.errno == 28
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize('kind', KINDS)
def test_a_truly_full_disk_leaves_no_half_picture(kind, tmp_path):
    # A limit on the size of files simulates a full disk; Python ignores the signal that it sends.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(FRExError, match=rf'a\.{kind}: cannot be written .*File too large'):
            write_photo(tmp_path / f'a.{kind}', picture(noise(64, 64, 3)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(('kind', 'shape'), [('webp', (1, 16384, 3)), ('jpg', (65501, 1, 3))])
def test_sides_that_are_too_long_for_a_format_are_refused(kind, shape, tmp_path):
    with pytest.raises(FRExError, match=rf'a\.{kind}: .* pixels that .* has for a side: write png'):
        write_photo(tmp_path / f'a.{kind}', picture(np.zeros(shape, np.uint8)))


def test_a_kind_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(FRExError, match=r'a\.gif: \.gif is not a kind of image that can be written'):
        write_photo(tmp_path / 'a.gif', picture(smooth(8, 8)))


@pytest.mark.parametrize(('factor', 'size'), [(1, (13, 7)), (2, (26, 14)), (1.5, (20, 10)), (0.5, (6, 4)), (0.01, (1, 1))])
def test_scaling_gives_the_exact_size_of_picture_and_alpha(factor, size):
    for bits in (8, 16):
        larger = scale_photo(picture(noise(7, 13, 3, bits=bits), noise(7, 13, bits=bits)), factor)
        assert larger.image.shape == (size[1], size[0], 3)
        assert larger.alpha.shape == size[::-1]
        assert larger.image.dtype == larger.alpha.dtype == (np.uint8 if bits == 8 else np.uint16)


def test_scaling_keeps_colours_depth_and_what_the_file_said():
    plain = picture(np.full((4, 4, 3), (0, 300, 65535), np.uint16), metadata=Metadata(b'e', b'i'))
    for factor in (0.5, 3.3):
        larger = scale_photo(plain, factor)
        assert (larger.image == (0, 300, 65535)).all()
        assert larger.metadata == plain.metadata


@pytest.mark.parametrize('factor', [0, -1, float('nan'), float('inf')])
def test_a_factor_that_is_none_is_refused(factor):
    with pytest.raises(FRExError, match='cannot be scaled'):
        scale_photo(picture(smooth(8, 8)), factor)


def test_a_result_beyond_all_bounds_is_refused():
    with pytest.raises(FRExError, match='8 x 8 scaled by 1e\\+06 is more than 1000 million pixels'):
        scale_photo(picture(smooth(8, 8)), 1e6)


def test_eight_bits_are_rounded_from_sixteen_and_from_floats():
    sixteen = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    assert np.array_equal(to_eight_bit(sixteen), np.rint(sixteen / 65535 * 255).astype(np.uint8))
    assert to_eight_bit(np.array([[-1.0, 0.0, 0.5, 1.0, 7.0]])).tolist() == [[0, 0, 128, 255, 255]]
    eight = noise(3, 3, 3)
    assert to_eight_bit(eight) is eight
    for wrong in (np.array([np.nan]), np.array([1])):
        with pytest.raises(FRExError, match='no image'):
            to_eight_bit(wrong)


def test_a_file_is_on_its_disk_before_it_has_its_name(tmp_path, monkeypatch):
    path, synced, sync = tmp_path / 'a.png', [], os.fsync

    def fsync(file):
        synced.append((os.fstat(file).st_size, path.exists()))
        sync(file)

    monkeypatch.setattr(os, 'fsync', fsync)
    write_photo(path, picture(smooth(8, 8)))
    assert synced == [(path.stat().st_size, False)]

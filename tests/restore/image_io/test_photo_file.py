"""Photographs come out of files with their depth, colours and alpha, and go back into them; and are scaled."""

import cv2
import numpy as np
import PIL.Image
import pytest
from image_files import GRAY, KINDS, SRGB, cmyk_profile, exif, kept_exif, needs_avif, noise, photo_of, png_16, saved, soft, tiff

from frex.errors import FRExError
from frex.restore.image_io.color_modes import to_eight_bit
from frex.restore.image_io.photo_file import Metadata, read_photo, scale_photo, write_photo


@pytest.mark.parametrize('kind', ['png', 'tif'])
@pytest.mark.parametrize('channels', [1, 3, 4])
def test_sixteen_bits_come_back_exactly_with_profile_and_exif(kind, channels, tmp_path):
    image = noise(7, 9, 1, bits=16).repeat(3, axis=2) if channels == 1 else noise(7, 9, 3, bits=16)
    alpha = noise(7, 9, bits=16) if channels == 4 else None
    icc = GRAY if channels == 1 else SRGB
    path = tmp_path / f'a.{kind}'
    block = exif().tobytes()[6:]
    assert write_photo(path, photo_of(image, alpha, channels == 1, Metadata(block, icc))) == ()
    read = read_photo(path)
    assert np.array_equal(read.image, image)
    assert (read.alpha is None) if alpha is None else np.array_equal(read.alpha, alpha)
    assert (read.grey, read.metadata.icc) == (channels == 1, icc)
    assert kept_exif(path) == (1, 'Maker', 'Lens 50 mm', 'N')
    stored = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    assert (stored.dtype, stored.reshape(7, 9, -1).shape[2]) == (np.uint16, channels)


def test_a_dark_image_of_sixteen_bits_stays_one(tmp_path):
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
    pixels = np.dstack([soft(16, 24), soft(16, 24, 1)])
    read = read_photo(saved(tmp_path / f'a.{kind}', pixels, **({'quality': 100} if kind == 'avif' else {})))
    write_photo(tmp_path / f'b.{kind}', read, quality=100)
    again = read_photo(tmp_path / f'b.{kind}')
    assert np.abs(again.alpha.astype(int) - pixels[..., 3]).max() <= 2
    assert again.image.shape == (16, 24, 3)


@pytest.mark.parametrize('kind', KINDS)
def test_grey_stays_grey_and_colours_stay_colours(kind, tmp_path):
    path = saved(tmp_path / f'a.{kind}', soft(16, 24, 1)[..., 0])
    read = read_photo(path)
    assert read.grey
    write_photo(tmp_path / f'b.{kind}', read)
    assert read_photo(tmp_path / f'b.{kind}').grey
    assert not read_photo(saved(tmp_path / f'c.{kind}', soft(16, 24))).grey


@pytest.mark.parametrize(('kind', 'mode'), [('png', 'L'), ('jpg', 'L'), ('tif', 'L'), ('bmp', 'L')])
def test_a_grey_image_is_one_channel_even_where_its_pixels_got_a_tint(kind, mode, tmp_path):
    tinted = soft(16, 24)
    write_photo(tmp_path / f'a.{kind}', photo_of(tinted, grey=True), quality=100)
    with PIL.Image.open(tmp_path / f'a.{kind}') as image:
        assert image.mode == mode
        luma = tinted @ [0.114, 0.587, 0.299]
        assert np.abs(np.asarray(image) - luma).max() < 3


def test_a_grey_image_with_a_profile_of_colours_is_stored_in_three_channels(tmp_path):
    grey = soft(16, 24, 1).repeat(3, axis=2)
    read = read_photo(saved(tmp_path / 'a.jpg', grey, icc_profile=SRGB))
    assert read.grey
    write_photo(tmp_path / 'b.png', read)
    with PIL.Image.open(tmp_path / 'b.png') as image:
        assert (image.mode, image.info['icc_profile']) == ('RGB', SRGB)


@pytest.mark.parametrize('kind', ['jpg', 'tif'])
def test_cmyk_becomes_the_rgb_that_pillow_makes_of_it(kind, tmp_path):
    path = tmp_path / f'a.{kind}'
    image = PIL.Image.frombytes('CMYK', (24, 16), soft(16, 24, 4).tobytes())
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


def test_an_image_of_one_pixel_is_one(tmp_path):
    for kind in ('png', 'jpg', 'tif', 'bmp', 'webp'):
        path = saved(tmp_path / f'a.{kind}', np.full((1, 1, 3), 128, np.uint8))
        write_photo(path, scale_photo(read_photo(path), 2))
        assert read_photo(path).image.shape == (2, 2, 3)


def test_names_of_any_script_and_of_greatest_length_work(tmp_path):
    # The name has 241 bytes, and the temporary name beside it 255.
    for name in ('фото 写真 😀.png', 'é' * 118 + 'x.png'):
        pixels = noise(4, 4, 3)
        write_photo(tmp_path / name, photo_of(pixels))
        assert np.array_equal(read_photo(tmp_path / name).image, pixels)


@pytest.mark.parametrize(('factor', 'size'), [(1, (13, 7)), (2, (26, 14)), (1.5, (20, 10)), (0.5, (6, 4)), (0.01, (1, 1))])
def test_scaling_gives_the_exact_size_of_image_and_alpha(factor, size):
    for bits in (8, 16):
        larger = scale_photo(photo_of(noise(7, 13, 3, bits=bits), noise(7, 13, bits=bits)), factor)
        assert larger.image.shape == (size[1], size[0], 3)
        assert larger.alpha.shape == size[::-1]
        assert larger.image.dtype == larger.alpha.dtype == (np.uint8 if bits == 8 else np.uint16)


def test_scaling_keeps_colours_depth_and_what_the_file_said():
    plain = photo_of(np.full((4, 4, 3), (0, 300, 65535), np.uint16), metadata=Metadata(b'e', b'i'))
    for factor in (0.5, 3.3):
        larger = scale_photo(plain, factor)
        assert (larger.image == (0, 300, 65535)).all()
        assert larger.metadata == plain.metadata


@pytest.mark.parametrize('factor', [0, -1, float('nan'), float('inf')])
def test_a_factor_that_is_none_is_refused(factor):
    with pytest.raises(FRExError, match='cannot be scaled'):
        scale_photo(photo_of(soft(8, 8)), factor)


def test_a_result_beyond_all_bounds_is_refused():
    with pytest.raises(FRExError, match='8 x 8 scaled by 1e\\+06 is more than 1000 million pixels'):
        scale_photo(photo_of(soft(8, 8)), 1e6)


def test_eight_bits_are_rounded_from_sixteen_and_from_floats():
    sixteen = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    assert np.array_equal(to_eight_bit(sixteen), np.rint(sixteen / 65535 * 255).astype(np.uint8))
    assert to_eight_bit(np.array([[-1.0, 0.0, 0.5, 1.0, 7.0]])).tolist() == [[0, 0, 128, 255, 255]]
    eight = noise(3, 3, 3)
    assert to_eight_bit(eight) is eight
    for wrong in (np.array([np.nan]), np.array([1])):
        with pytest.raises(FRExError, match='no image'):
            to_eight_bit(wrong)

"""Tests of the images that Python callers give: arrays, Pillow's images, and objects that are not images."""

import numpy as np
import pytest
from PIL import Image as PillowImage

from frex.errors import FRExError
from frex.restore.image_io.photo_file import to_photo

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (6, 9), dtype=np.uint8)


@pytest.mark.parametrize(
    ('source', 'words'),
    [
        (None, 'was the file read'),
        (b'png', 'bytes'),
        ([[1]], 'list'),
        (np.zeros((4, 4), np.float32), 'float32'),
        (np.zeros(3, np.uint8), 'give'),
        (np.zeros((0, 5), np.uint8), 'give'),
        (PillowImage.new('RGB', (0, 5)), '0 x 5 pixels'),
        (PillowImage.new('L', (5, 0)), '5 x 0 pixels'),
    ],
)
def test_what_is_no_image_is_told(source, words):
    with pytest.raises(FRExError, match=words):
        to_photo(source)


@pytest.mark.parametrize('mode', ['I', 'F', 'LAB', 'HSV'])
def test_pillows_modes_without_colours_are_refused(mode):
    with pytest.raises(FRExError, match=f'mode {mode} is not read'):
        to_photo(PillowImage.new(mode, (4, 4)))


def test_pillows_images_are_read_as_they_are():
    rgb = to_photo(PillowImage.fromarray(COLOURS[:, :, ::-1].copy()))
    np.testing.assert_array_equal(rgb.image, COLOURS)
    assert (rgb.alpha, rgb.grey) == (None, False)
    rgba = to_photo(PillowImage.fromarray(np.dstack([COLOURS[:, :, ::-1], GREY])))
    np.testing.assert_array_equal(rgba.image, COLOURS)
    np.testing.assert_array_equal(rgba.alpha, GREY)
    for mode in ('L', 'LA'):
        grey = to_photo(PillowImage.fromarray(GREY).convert(mode))
        np.testing.assert_array_equal(grey.image, np.dstack([GREY] * 3))
        assert grey.grey
        assert (grey.alpha is None) == (mode == 'L')


def test_sixteen_bit_of_pillow_stay():
    deep = (GREY.astype(np.uint16) << 8) + 7
    photo = to_photo(PillowImage.fromarray(deep))
    assert photo.grey
    np.testing.assert_array_equal(photo.image[:, :, 0], deep)


def test_pillows_images_are_turned_upright_and_keep_their_profile():
    image = PillowImage.fromarray(COLOURS[:, :, ::-1].copy())
    image.getexif()[0x0112] = 6
    image.info['icc_profile'], image.info['dpi'] = b'a profile', (300, 300)
    photo = to_photo(image)
    # Orientation 6: the first row of the file is the right side of the image.
    np.testing.assert_array_equal(photo.image, np.rot90(COLOURS, -1))
    assert (photo.metadata.icc, photo.metadata.dpi) == (b'a profile', (300, 300))


def test_an_array_without_colour_is_grey_however_many_channels_it_has():
    for array in (GREY, GREY[:, :, None], np.dstack([GREY] * 3), np.dstack([GREY] * 4)):
        assert to_photo(array).grey
    assert not to_photo(COLOURS).grey
    assert to_photo(PillowImage.fromarray(np.dstack([GREY] * 3))).grey

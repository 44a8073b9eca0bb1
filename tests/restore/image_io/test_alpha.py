"""Scaling an image with alpha mixes only what is seen, and does not ring."""

import cv2
import numpy as np
import pytest
from image_files import KINDS, needs_avif, noise, photo_of, soft

from frex.restore.image_io.photo_file import read_photo, scale_photo, write_photo

FACTORS = [0.3, 0.5, 0.77, 1.01, 1.5, 2, 3.3, 4]


def cut_out(bits=8, hidden=0, shown=190):
    """Return an image of one colour that is opaque on a disc; outside it is transparent, and hides another colour."""
    most = 2**bits - 1
    y, x = np.mgrid[:60, :80]
    disc = np.hypot(y - 30, x - 40) < 22
    kind = np.uint8 if bits == 8 else np.uint16
    image = np.where(disc[..., None], (shown, shown - 20, shown + 20), hidden) * (1 if bits == 8 else 257)
    return photo_of(image.astype(kind), np.where(disc, most, 0).astype(kind))


@pytest.mark.parametrize('factor', FACTORS)
@pytest.mark.parametrize('hidden', [0, 255])
@pytest.mark.parametrize('bits', [8, 16])
def test_hidden_colours_leave_no_rim(factor, hidden, bits):
    result = scale_photo(cut_out(bits, hidden), factor)
    unit = 1 if bits == 8 else 257
    shown = result.image[result.alpha > 0]
    assert np.abs(shown / unit - (190, 170, 210)).max() < 1
    most = 255 * unit
    # Alpha falls from all to nothing within about two pixels of the input, and never rings.
    assert (result.alpha.min(), result.alpha.max()) == (0, most)
    between = ((result.alpha > 0) & (result.alpha < most)).mean()
    assert between < 2 * 2 * np.pi * 22 / (60 * 80) + 0.05


@pytest.mark.parametrize('factor', FACTORS)
def test_where_alpha_is_the_same_an_image_is_scaled_as_one_without(factor):
    image = soft(60, 80)
    for value in (255, 128, 1, 0):
        result = scale_photo(photo_of(image, np.full((60, 80), value, np.uint8)), factor)
        assert np.array_equal(result.image, scale_photo(photo_of(image), factor).image)
        assert (result.alpha == value).all()


@pytest.mark.parametrize('factor', FACTORS)
def test_colours_over_any_background_are_those_of_the_scaled_composition(factor):
    """Laying over a background and scaling may change places, where both are by the same linear interpolation."""
    image, alpha = soft(60, 80), cv2.resize(noise(12, 16), (80, 60), interpolation=cv2.INTER_NEAREST)
    result = scale_photo(photo_of(image, alpha), factor)
    share = alpha[..., None] / 255
    size = result.alpha.shape[::-1]
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    for background in (0, 255):
        expected = cv2.resize(image * share + background * (1 - share), size, interpolation=how)
        found = result.image * (result.alpha[..., None] / 255) + background * (1 - result.alpha[..., None] / 255)
        # Within the blocks of one alpha Lanczos is sharper.
        assert np.abs(found - expected).max() < 8
        assert np.abs(found - expected).mean() < 0.6


@pytest.mark.parametrize('factor', FACTORS)
@pytest.mark.parametrize('bits', [8, 16])
def test_noise_of_alpha_is_scaled_as_linear_weights_say(factor, bits):
    alpha = noise(41, 53, bits=bits)
    result = scale_photo(photo_of(noise(41, 53, 3, bits=bits), alpha), factor)
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    expected = cv2.resize(alpha.astype(np.float32), result.alpha.shape[::-1], interpolation=how)
    assert np.abs(result.alpha - expected).max() < (0.51 if bits == 8 else 1)


@pytest.mark.parametrize('kind', ['png', 'tif', 'webp', pytest.param('avif', marks=needs_avif)])
@pytest.mark.parametrize('factor', [0.5, 2])
def test_every_format_with_alpha_keeps_the_rim(kind, factor, tmp_path):
    assert kind in str(KINDS)
    write_photo(tmp_path / f'a.{kind}', cut_out(), quality=100)
    write_photo(tmp_path / f'b.{kind}', scale_photo(read_photo(tmp_path / f'a.{kind}'), factor), quality=100)
    result = read_photo(tmp_path / f'b.{kind}')
    shown = result.image[result.alpha > 200]
    assert np.abs(shown.astype(int) - (190, 170, 210)).max() < (2 if kind in ('png', 'tif') else 20)
    assert np.abs(shown.mean(axis=0) - (190, 170, 210)).max() < 3


@pytest.mark.slow
def test_scaling_a_large_image_with_alpha_takes_little_more_than_without(interpreter):
    code = (
        'import resource\nimport numpy as np\nfrom frex.restore.image_io.metadata import Metadata\n'
        'from frex.restore.image_io.photo_file import Photo, scale_photo\n'
        'image, alpha = np.full((2000, 2500, 3), 200, np.uint8), np.zeros((2000, 2500), np.uint8)\n'
        'alpha[::3] = 255\n'
        'before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n'
        'assert scale_photo(Photo(image, alpha, False, Metadata()), 2).alpha.shape == (4000, 5000)\n'
        'print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)'
    )
    # The result takes 76 MiB.
    assert int(interpreter.check_output(code)) < 140

"""The degradation of Eq. 19."""

import math

import cv2
import numpy as np
import pytest

from frex.data.convolution import convolve
from frex.data.degradation import (
    PRESETS,
    DegradationParams,
    DegradationRanges,
    compress_jpeg,
    degrade,
    draw_degradation,
    gaussian_kernel,
    motion_kernel,
)

NOTHING = DegradationParams(motion=None, blur=None, blur_kernel_size=41, downsample=None, noise=None, noise_seed=0, jpeg=None)


def random_image(size=64, seed=0):
    return np.random.default_rng(seed).random((size, size, 3), dtype=np.float32)


def only(**changes):
    return [DegradationParams(**(vars(NOTHING) | changes))]


def moments(kernel):
    """Centroid and covariance of a kernel, in pixels from its middle."""
    radius = kernel.shape[0] // 2
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    points, weights = np.stack([x, y]).reshape(2, -1), kernel.ravel().astype(np.float64)
    centroid = points @ weights
    return centroid, (weights * points) @ points.T - np.outer(centroid, centroid)


def test_nothing_drawn_changes_nothing_but_rounding():
    assert np.abs(degrade(random_image(), [NOTHING]) - random_image()).max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize('length', [1.0, 2.6, 8.9, 21.0, 71.0])
@pytest.mark.parametrize('angle', [0.0, 0.5, math.pi / 2, 2.2])
def test_motion_kernel_is_a_centred_line(length, angle):
    kernel = motion_kernel(length, angle)
    centroid, covariance = moments(kernel)
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(centroid, 0, atol=1e-4)
    # A uniform line of reach r has variance r^2 / 3 along itself; splatting to pixels adds less than a fifth of a pixel.
    reach = max((length - 1) / 2, 0)
    along = np.array([math.cos(angle), math.sin(angle)])
    across = np.array([-along[1], along[0]])
    assert math.sqrt(along @ covariance @ along) == pytest.approx(reach / math.sqrt(3), abs=0.5)
    assert math.sqrt(max(across @ covariance @ across, 0)) < 0.5


def test_gaussian_kernel_has_the_asked_moments():
    kernel = gaussian_kernel(61, 6.0, 3.0, 0.7)
    centroid, covariance = moments(kernel)
    along, across = np.array([math.cos(0.7), math.sin(0.7)]), np.array([-math.sin(0.7), math.cos(0.7)])
    np.testing.assert_allclose(centroid, 0, atol=1e-5)
    assert math.sqrt(along @ covariance @ along) == pytest.approx(6, rel=1e-3)
    assert math.sqrt(across @ covariance @ across) == pytest.approx(3, rel=1e-3)


def test_the_papers_kernel_is_cut_so_that_sigma_20_is_11_pixels():
    _, covariance = moments(gaussian_kernel(41, 20, 20, 0))
    assert math.sqrt(covariance[0, 0]) == pytest.approx(11.0, abs=0.1)


def test_gaussian_of_no_width_is_a_point():
    np.testing.assert_allclose(gaussian_kernel(41, 0, 0, 0)[20, 20], 1, atol=1e-6)


def test_lengths_are_stated_for_512_pixels():
    blurred = degrade(random_image(64), only(blur=(8.0, 8.0, 0.0)))
    expected = cv2.filter2D(random_image(64), -1, gaussian_kernel(41 / 8, 1.0, 1.0, 0.0), borderType=cv2.BORDER_REFLECT_101)
    np.testing.assert_allclose(blurred, expected, atol=0.5 / 255 + 1e-5)


@pytest.mark.parametrize('size', [1, 9, 13, 41, 71])
@pytest.mark.parametrize('shape', [(64, 64), (37, 90), (20, 20)])
def test_blurring_is_opencvs_filter(shape, size):
    rng = np.random.default_rng(size)
    image, kernel = rng.random((*shape, 3), dtype=np.float32), rng.random((size, size), dtype=np.float32)
    kernel /= kernel.sum()
    expected = cv2.filter2D(image.astype(np.float64), -1, kernel.astype(np.float64), borderType=cv2.BORDER_REFLECT_101)
    np.testing.assert_allclose(convolve(image, kernel), expected, atol=2e-6)


def test_noise_has_the_drawn_deviation_and_seed():
    grey = np.full((128, 128, 3), 0.5, dtype=np.float32)
    noisy = degrade(grey, only(noise=20.0, noise_seed=7))
    assert (noisy - grey).std() * 255 == pytest.approx(20, rel=0.02)
    assert np.array_equal(noisy, degrade(grey, only(noise=20.0, noise_seed=7)))
    assert not np.array_equal(noisy, degrade(grey, only(noise=20.0, noise_seed=8)))


def checks(size):
    return (np.indices((size, size)).sum(axis=0)[..., None] % 2 * np.ones(3)).astype(np.float32)


def test_downsampling_averages_away_what_is_small():
    assert degrade(checks(512), only(downsample=2.0)).std() < 0.05


def test_the_ratio_of_downsampling_is_that_of_512_pixels():
    # 16 at 512 leaves 32 pixels of the face; so it does at 64, where it is 2. Below 1 nothing is lost.
    assert degrade(checks(64), only(downsample=16.0)).std() < 0.05
    assert np.array_equal(degrade(checks(64), only(downsample=8.0)), checks(64))
    ramp = np.linspace(0, 1, 64, dtype=np.float32)[None, :, None] * np.ones((64, 1, 3), np.float32)
    expected = cv2.resize(cv2.resize(ramp, (42, 42)), (64, 64))
    assert np.abs(degrade(ramp, only(downsample=12.0)) - expected).max() <= 0.5 / 255 + 1e-6


def test_jpeg_is_opencvs():
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    _, data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 60])
    assert np.array_equal((compress_jpeg(image.astype(np.float32) / 255, 60) * 255).round(), cv2.imdecode(data, cv2.IMREAD_COLOR))


def test_the_steps_are_in_the_order_of_eq_19():
    image, size = random_image(), (64, 64)
    expected = convolve(image, motion_kernel(71 / 8, 0.4))
    expected = convolve(expected, gaussian_kernel(41 / 8, 2.0, 1.0, 0.7))
    expected = cv2.resize(expected, (32, 32), interpolation=cv2.INTER_LINEAR)
    noise = np.random.default_rng(5).standard_normal((32, 32, 3), dtype=np.float32) * np.float32(20 / 255)
    expected = cv2.resize(compress_jpeg((expected + noise).clip(0, 1), 60), size, interpolation=cv2.INTER_LINEAR)
    passes = only(motion=(71.0, 0.4), blur=(16.0, 8.0, 0.7), downsample=16.0, noise=20.0, noise_seed=5, jpeg=60)
    assert np.abs(degrade(image, passes) - expected).max() <= 0.5 / 255 + 1e-6


def test_same_seed_same_bytes_other_seed_other_image():
    first, again, other = (
        degrade(random_image(), draw_degradation(DegradationRanges(), np.random.default_rng(seed))) for seed in (3, 3, 4)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_changing_one_probability_changes_nothing_else():
    changed = DegradationRanges(motion_prob=1.0)
    for seed in range(20):
        before, after = (draw_degradation(kind, np.random.default_rng(seed))[0] for kind in (DegradationRanges(), changed))
        assert after.motion is not None
        assert vars(after) | {'motion': None} == vars(before) | {'motion': None}


@pytest.mark.parametrize('preset', PRESETS)
def test_draws_stay_in_range_and_happen_as_often_as_asked(preset):
    kind = PRESETS[preset]
    first = [draw_degradation(kind, np.random.default_rng(seed))[0] for seed in range(2000)]
    ranges = {
        'motion': ([once.motion[0] for once in first if once.motion], kind.motion_prob, (21, 71)),
        'blur': ([sigma for once in first if once.blur for sigma in once.blur[:2]], 2 * kind.blur_prob, kind.blur_sigma),
        'downsample': ([once.downsample for once in first if once.downsample], kind.downsample_prob, kind.downsample_range),
        'noise': ([once.noise for once in first if once.noise], kind.noise_prob, kind.noise_range),
        'jpeg': ([once.jpeg for once in first if once.jpeg], kind.jpeg_prob, kind.jpeg_range),
    }
    for name, (values, probability, (low, high)) in ranges.items():
        assert len(values) / 2000 == pytest.approx(probability, abs=0.05), name
        assert low <= min(values) <= low + (high - low) * 0.05, name
        assert high - (high - low) * 0.05 <= max(values) <= high, name


def test_the_second_pass_has_no_motion_and_its_own_ranges():
    twice = [draw_degradation(PRESETS['release'], np.random.default_rng(seed)) for seed in range(1000)]
    second = [draws[1] for draws in twice if len(draws) == 2]
    assert len(second) / 1000 == pytest.approx(0.8, abs=0.04)
    assert all(once.motion is None and once.blur[0] <= 10 and once.downsample <= 8 and once.noise <= 15 for once in second)

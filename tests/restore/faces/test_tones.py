"""Faces without colours of their own keep their tone: grey, sepia, or another tint; faces in colour stay as they are."""

import cv2
import numpy as np
import pytest
from fake_detector import FakeDetector, detected, landmarks_at, smooth
from fake_restorer import fake_restorer
from image_files import photo_of

from frex.restore.detection.align import face_matrix
from frex.restore.faces.photo import find_faces
from frex.restore.faces.tones import MOST_COLOUR, apply_tones, find_tones

IDENTITY = np.eye(2, 3)


def as_jpeg(image, quality):
    return cv2.imdecode(cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


def luma_of(image):
    return cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)


def grey(image):
    return np.dstack([luma_of(image)] * 3)


def toned(image, dark=(20, 40, 60), bright=(170, 225, 250)):
    """Return a grey image printed in a tone that runs from `dark` to `bright`, in BGR."""
    share = luma_of(image)[..., None] / 255
    return np.rint((1 - share) * dark + share * np.array(bright)).astype(np.uint8)


def chroma(image):
    """Return the mean distance of an image's colours from grey."""
    return float(np.abs(cv2.cvtColor(image, cv2.COLOR_BGR2YCrCb)[..., 1:].astype(int) - 128).mean())


@pytest.fixture(params=['astronaut', 'other'])
def portrait(request, portraits):
    names = sorted(portraits)
    return cv2.resize(portraits[names[request.param == 'other']].image, (256, 256), interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize('quality', [None, 90, 30, 10])
@pytest.mark.parametrize('factor', [1, 4])
def test_a_face_in_colour_has_no_tones_however_degraded(portrait, quality, factor):
    small = cv2.resize(portrait, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
    image = small if quality is None else as_jpeg(small, quality)
    assert find_tones(image, IDENTITY, image.shape[0]) is None


@pytest.mark.parametrize('quality', [100, 90, 50, 20])
def test_a_grey_face_that_went_through_jpeg_gets_grey_tones(portrait, quality):
    noisy = np.clip(grey(portrait) + np.random.default_rng(0).normal(0, 5, portrait.shape), 0, 255).astype(np.uint8)
    for image in (grey(portrait), noisy):
        tones = find_tones(as_jpeg(image, quality), IDENTITY, 256)
        assert np.abs(tones.astype(int) - np.arange(256)[:, None]).max() <= 3


@pytest.mark.parametrize('bright', [(170, 225, 250), (250, 225, 190), (200, 250, 210)])
@pytest.mark.parametrize('quality', [None, 90, 50])
def test_a_tint_is_kept_at_every_luma(portrait, bright, quality):
    image = toned(portrait, bright=bright)
    seen = image if quality is None else as_jpeg(image, quality)
    result = apply_tones(as_jpeg(portrait[:, ::-1], 95), find_tones(seen, IDENTITY, 256))
    # The result's colours are those that the tint has at the result's own luma.
    dark, span = np.array((20, 40, 60)), np.array(bright) - (20, 40, 60)
    weights = np.array([0.114, 0.587, 0.299])
    share = (luma_of(result)[..., None] - weights @ dark) / (weights @ span)
    # A tint has no colours beyond its darkest and its brightest.
    occurring = ((share > 0) & (share < 1))[..., 0]
    wrong = np.abs(result - (dark + share * span))[occurring].mean(axis=0).max()
    assert wrong < (1.5 if quality is None else 4)


def test_without_tones_a_face_stays_as_it_is(portrait):
    assert apply_tones(portrait, None) is portrait


def test_a_date_stamp_elsewhere_does_not_give_a_grey_face_colours(portrait):
    """The image is stored in colour, for the sake of an orange date and a strip of brown paper; only the region of the face counts."""
    image = np.zeros((600, 800, 3), np.uint8)
    image[:] = grey(smooth(600, 800))
    image[100:356, 100:356] = grey(portrait)
    image[560:590, 600:780], image[:, 780:] = (0, 128, 255), (80, 120, 160)
    for stored in (image, as_jpeg(image, 85), image.astype(np.uint16) * 257):
        (face,) = find_faces(photo_of(stored), FakeDetector(detected(landmarks_at(228, 228, 256))), 64)
        assert chroma(apply_tones(portrait, face.tones)) < 0.5


def test_a_small_face_is_judged_with_what_is_around_it(portrait):
    """A tinted face of 40 pixels in a JPEG has only a few blocks of colour; those around it show that all is tinted."""
    image = np.tile(cv2.resize(portrait, (40, 40), interpolation=cv2.INTER_AREA), (10, 10, 1))
    for stored, expected in ((as_jpeg(toned(image), 60), True), (as_jpeg(image, 60), False)):
        tones = find_tones(stored, face_matrix(landmarks_at(220, 220, 40), 64), 64)
        assert (tones is not None) == expected


def test_beyond_the_image_nothing_counts(portrait):
    """What is cut out beyond the border has a grey that is not quite neutral."""
    image = grey(portrait)
    tones = find_tones(image, face_matrix(landmarks_at(20, 240, 200), 64), 64)
    assert np.array_equal(tones, np.arange(256)[:, None].repeat(3, axis=1))
    assert find_tones(image, face_matrix(landmarks_at(-900, 240, 200), 64), 64) is None


def test_the_limit_is_in_levels_of_colour(portrait):
    """Red and green halves that deviate by less than the limit from grey of the same luma are grey, others are not."""
    for deviation, expected in ((0.5 * MOST_COLOUR, True), (3 * MOST_COLOUR, False)):
        parts = np.dstack([luma_of(portrait), np.full((256, 256, 2), 128, np.uint8)])
        parts[:, :128, 1] += round(deviation)
        parts[:, 128:, 1] -= round(deviation)
        image = cv2.cvtColor(parts, cv2.COLOR_YCrCb2BGR)
        assert (find_tones(image, IDENTITY, 256) is not None) == expected


def test_a_restored_face_is_written_in_the_tone_of_its_photograph(portrait):
    """The network would make the face blue."""
    image = cv2.resize(toned(portrait), (300, 300))
    restorer = fake_restorer(detected(landmarks_at(150, 150, 250), 0.99), size=64, change=lambda lq: lq * 0.5 + blue(lq))
    result = restorer.restore(image, force=True)
    (face,) = result.faces
    for found in (face.restored, result.image[50:250, 50:250], restorer.restore_aligned(toned(portrait))):
        blue_part, _, red_part = found.reshape(-1, 3).mean(axis=0)
        assert red_part > blue_part + 30
    coloured = restorer.restore_aligned(portrait).reshape(-1, 3).mean(axis=0)
    assert coloured[0] > coloured[2] + 30


def blue(lq):
    offset = lq.new_tensor([-0.5, 0, 0.5])
    return offset[None, :, None, None].expand_as(lq)

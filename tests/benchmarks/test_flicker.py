"""The measure of flicker is none for a film that only moves, and known for noise; the benchmark restores its film in memory."""

import numpy as np
import pytest
from fake_detector import smooth
from films import FilmDetector, pattern_network, restorer_of
from flicker import SIDE, measure_flicker, measure_psnr, offsets, restore, shift

CENTRE, RADIUS = np.array([232.0, 180.0]), 40.0


def moving_crops(count):
    places = offsets(count)
    return places, [shift(smooth(500, 500), *place) for place in places]


def test_a_film_that_only_moves_does_not_flicker():
    places, frames = moving_crops(6)
    assert measure_flicker(frames, places, CENTRE, RADIUS) < 0.5


def test_flicker_is_the_mean_difference_in_grey_levels():
    places, frames = moving_crops(6)
    frames = [frame // 2 + 20 * (number % 2) for number, frame in enumerate(frames)]
    assert measure_flicker([frame.astype(np.uint8) for frame in frames], places, CENTRE, RADIUS) == pytest.approx(20, abs=0.5)


def test_the_psnr_is_that_of_the_face():
    places, frames = moving_crops(3)
    half = [frame // 2 for frame in frames]
    assert measure_psnr([frame + 10 for frame in half], half, places, CENTRE, RADIUS) == pytest.approx(20 * np.log10(255 / 10))


@pytest.mark.parametrize('title', ['no_tracking', 'landmarks', 'tracking'])
def test_films_in_memory_are_restored(title):
    frames = moving_crops(5)[1]
    restored = restore(restorer_of(pattern_network(), FilmDetector(face=(160, 160, 120))), frames, title)
    assert len(restored) == 5
    assert restored[0].shape == (SIDE, SIDE, 3)
    assert np.abs(restored[0].astype(int) - frames[0])[150:170, 150:170].mean() > 20

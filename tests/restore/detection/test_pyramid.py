"""Tests of the search in copies and tiles, with a stand-in for the network that knows where the faces are."""

from itertools import pairwise

import cv2
import numpy as np
import pytest
from fake_detector import detected, landmarks_at

from frex.errors import FRExError
from frex.restore.detection.detector import DetectedFace
from frex.restore.detection.pyramid import LAST_COPY, MOST_TILE, OVERLAP, check_detection_size, search_all_sizes, split_length
from frex.restore.detection.retinaface import FaceDetector
from frex.restore.detection.selection import remove_ghosts, remove_repeats


class BrightSquares:
    """Finds bright squares whose sides have 16 to 450 pixels; in longer ones it finds a ghost with score 1, and not the square."""

    def __init__(self):
        self.seen = []

    def __call__(self, image):
        self.seen.append(image.shape[:2])
        _, _, stats, _ = cv2.connectedComponentsWithStats((image[:, :, 0] > 127).astype(np.uint8))
        return [self._answer(*row[:4]) for row in stats[1:] if max(row[2:4]) >= 16]

    def _answer(self, left, top, width, height):
        x, y, side = left + width / 2, top + height / 2, float(max(width, height))
        if side > 450:
            return face_at(x - side / 4, y, side / 3 if side < 1000 else 430.0, 1.0)
        return face_at(x, y, side, 0.99)


def face_at(x, y, side, score=0.99):
    return DetectedFace(np.array([x, y, x, y]) + np.array([-1, -1, 1, 1]) * side / 2, score, landmarks_at(x, y, side))


def squares(shape, *places):
    image = np.zeros((*shape, 3), np.uint8)
    for x, y, side in places:
        image[y - side // 2 : y + side - side // 2, x - side // 2 : x + side - side // 2] = 255
    return image


@pytest.mark.parametrize('side', [20, 64, 300, 398, 402, 700, 1000, 1998])
@pytest.mark.parametrize('detection_size', [1500, 2000])
def test_a_face_of_every_size_is_found_once_and_without_ghosts(side, detection_size):
    if detection_size < 2000 and side < 64:
        pytest.skip('too small for the copy')
    search = BrightSquares()
    (face,) = search_all_sizes(squares((2000, 2000), (1000, 1000, side)), search, detection_size)
    assert face.side == pytest.approx(side, abs=10)
    assert face.centre == pytest.approx([1000, 1000], abs=5)
    assert all(max(shape) <= MOST_TILE for shape in search.seen)


def test_small_faces_are_found_in_tiles_wherever_they_lie():
    """The faces lie on a diagonal, so also on the borders of tiles and of their cores."""
    places = [(at, at * 2 // 3 + 100, 24) for at in range(40, 3800, 61)]
    image = squares((2800, 3900), *places)
    found = search_all_sizes(image, BrightSquares(), 3900)
    assert sorted(tuple(np.round(face.centre).astype(int).tolist()) for face in found) == [(x, y) for x, y, _ in places]
    assert search_all_sizes(image, BrightSquares(), 1500) == []


def test_a_face_as_long_as_only_tiles_find_lies_wholly_in_one():
    for at in range(250, 3650, 97):
        (face,) = search_all_sizes(squares((500, 3900), (at, 250, 310)), BrightSquares(), 3900)
        assert face.side == pytest.approx(310, abs=5)


@pytest.mark.parametrize('length', [1, 1500, 1501, 2000, 2616, 2617, 6000, 20000])
def test_tiles_cover_an_image_and_their_cores_overlap(length):
    spans = split_length(length)
    assert (spans[0].start, spans[-1].stop) == (0, length)
    assert all(span.stop - span.start <= MOST_TILE for span in spans)
    for before, after in pairwise(spans):
        assert before.stop - after.start >= OVERLAP - 1
        assert before.core_stop - after.core_start > 32


def test_an_image_no_longer_than_the_last_copy_is_searched_once():
    search = BrightSquares()
    search_all_sizes(squares((300, LAST_COPY)), search, 1500)
    assert search.seen == [(300, LAST_COPY)]


@pytest.mark.parametrize('size', [0, 63, -5])
def test_a_search_too_coarse_is_refused(size):
    with pytest.raises(FRExError, match=f'--detection_size {size}: must be at least 64'):
        check_detection_size(size)
    with pytest.raises(FRExError, match='must be at least 64'):
        FaceDetector(None, 'any', size)


def test_a_ghost_is_what_lies_in_a_much_larger_sure_face():
    sure, doubted = face_at(100, 100, 100), face_at(300, 100, 100, 0.9)
    cheek, neighbour, nose = face_at(80, 100, 40, 1.0), face_at(20, 100, 40, 1.0), face_at(300, 100, 40, 1.0)
    assert remove_ghosts([sure, doubted, cheek, neighbour, nose]) == [sure, doubted, neighbour, nose]


def test_a_box_that_nearly_equals_an_earlier_one_is_a_repeat():
    first, shifted, beside = (detected(landmarks_at(x, 100, 100)) for x in (100, 112, 160))
    assert remove_repeats([first, shifted, beside]) == [first, beside]

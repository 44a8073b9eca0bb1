"""Search an image for faces of all sizes: in copies of falling size, and in overlapping tiles where a copy is large.

A RetinaFace finds faces whose box is some 20 to 400 pixels long. In longer ones it misses the face, and finds others on cheek and
forehead with scores up to 1.
"""

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import NamedTuple

import cv2
import numpy as np

from frex.errors import FRExError
from frex.images import Image
from frex.restore.detection.detector import DetectedFace
from frex.restore.detection.selection import remove_ghosts, remove_repeats

# Images with a longer side are first searched in a copy reduced to this many pixels.
DETECTION_SIZE = 1500
# Where a face of that copy is shorter than this, there may be others that are too small to be found in it.
SMALL_FACE = 48.0
LEAST_DETECTION_SIZE = 64
# A copy with a longer side than this is searched in tiles of at most this side, which bounds memory.
MOST_TILE = 1500
# Each copy has this fraction of the size of the one before.
RATIO = 0.4
# The last copy has at most this side, that of RetinaFace's largest anchor: no face is too long for it.
LAST_COPY = 512
# Longest box, in pixels of a copy, that counts there; longer ones are found in the next copy.
MOST_BOX = 400.0
# Shortest box that counts in the next copy, in pixels of this one: between the two both copies find the face.
LEAST_BOX = 320.0
# A face belongs to the tile in whose core its centre lies; the cores of neighbours overlap by twice this many pixels, so that a centre on
# the border is not lost.
SLACK = 32
# Tiles overlap by so much that the longest box which only they find lies wholly in the tile that has its centre.
OVERLAP = int(LEAST_BOX) + 2 * SLACK

Search = Callable[[Image], list[DetectedFace]]
"""A function that returns the faces of a BGR image, in its pixels."""


def check_detection_size(size: int | None) -> None:
    """Raise FRExError where `size`, the longer side of the finest copy in pixels, is too small; None chooses it for each image."""
    if size is not None and size < LEAST_DETECTION_SIZE:
        raise FRExError(f'--detection_size {size}: must be at least {LEAST_DETECTION_SIZE}')


def may_miss_faces(shape: tuple[int, ...], sides: Sequence[float]) -> bool:
    """Return whether a search at DETECTION_SIZE may have missed small faces of an image of this shape, (height, width, ...).

    `sides` are the longer sides of the boxes that were found there, in pixels of the image. The answer is yes where the image is larger
    than that, and no face was found, or one of less than SMALL_FACE pixels of the searched copy: others may be smaller still.
    """
    shrink = DETECTION_SIZE / max(shape[:2])
    return shrink < 1 and shrink * min(sides, default=0.0) < SMALL_FACE


def search_all_sizes(image: Image, search: Search, detection_size: int) -> list[DetectedFace]:
    """Return the faces of a BGR image, each once, in order of falling score.

    The longer side of the finest copy has `detection_size` pixels, or that of the image where it is smaller.
    """
    longer, shortest = min(detection_size, max(image.shape[:2])), 0.0
    found = []
    while True:
        faces = _search_copy(image, search, longer)
        if longer <= LAST_COPY:
            found += [face for face, side in faces if side >= shortest]
            return remove_repeats(sorted(remove_ghosts(found), key=lambda face: -face.score))
        found += [face for face, side in faces if shortest <= side <= MOST_BOX]
        longer, shortest = round(RATIO * longer), RATIO * LEAST_BOX


def _search_copy(image: Image, search: Search, longer: int) -> list[tuple[DetectedFace, float]]:
    """Search a copy whose longer side has `longer` pixels; return the faces in pixels of `image`, and their sides in those of the copy."""
    height, width = image.shape[:2]
    shrink = longer / max(height, width)
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    copy = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if shrink < 1 else image
    back = np.array([width / size[0], height / size[1]])
    return [(face.moved(back, np.zeros(2)), face.side) for face in search_tiles(copy, search)]


def search_tiles(image: Image, search: Search) -> list[DetectedFace]:
    """Return the faces of a BGR image, searched in tiles where it is large; one near the border of two cores may come twice."""
    found = []
    for rows, columns in product(split_length(image.shape[0]), split_length(image.shape[1])):
        tile = np.ascontiguousarray(image[rows.start : rows.stop, columns.start : columns.stop])
        offset = np.array([columns.start, rows.start], float)
        faces = [face.moved(np.ones(2), offset) for face in search(tile)]
        low, high = (columns.core_start, rows.core_start), (columns.core_stop, rows.core_stop)
        found += [face for face in faces if (low <= face.centre).all() and (face.centre <= high).all()]
    return found


class Span(NamedTuple):
    """A tile in one direction: the pixels from `start` to `stop`, and the part, its core, in which the centres of its faces lie."""

    start: int
    stop: int
    core_start: float
    core_stop: float


def split_length(length: int) -> list[Span]:
    """Return the fewest tiles of equal size, MOST_TILE pixels at most, that cover `length` pixels and overlap by OVERLAP or more."""
    count = max(1, math.ceil((length - OVERLAP) / (MOST_TILE - OVERLAP)))
    side = math.ceil((length + (count - 1) * OVERLAP) / count)
    starts = [(length - side) * number // max(1, count - 1) for number in range(count)]
    margin = OVERLAP / 2 - SLACK
    # At the border of the image the box of a face, and so its centre, may lie beyond.
    return [
        Span(
            start, start + side, -math.inf if start == 0 else start + margin, math.inf if start + side == length else start + side - margin
        )
        for start in starts
    ]

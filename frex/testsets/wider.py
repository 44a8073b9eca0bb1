"""Read WIDER FACE's annotations, `wider_face_*_bbx_gt.txt`.

For each image the file has a line with its name, one with the count of faces, and one for each face: `x y w h blur expression illumination
invalid occlusion pose`.
"""

from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np
from jaxtyping import Float
from msgspec import Struct

from frex.errors import FRExError
from frex.utils.files import read_regular

T = TypeVar('T')
# How many numbers the line of a face holds.
NUMBERS = 10
# The least intersection over union at which a detected and an annotated box show the same face.
MIN_OVERLAP = 0.4


class WiderFace(Struct, frozen=True):
    """An annotated face: the left and top edge of its box, its width and its height in pixels, and its attributes.

    `blur` and `occlusion` are 0 none, 1 some, 2 heavy. The others are 0 or 1: 1 means an extreme expression or illumination, an atypical
    pose, or a face that is not fit for use (`invalid`).
    """

    x: float
    y: float
    w: float
    h: float
    blur: int
    expression: int
    illumination: int
    invalid: int
    occlusion: int
    pose: int

    @property
    def box(self) -> Float[np.ndarray, '4']:
        """Return the box as (left, top, right, bottom) in pixels; right is left + width, bottom is top + height."""
        return np.array([self.x, self.y, self.x + self.w, self.y + self.h], dtype=float)


def read_wider(path: Path) -> dict[str, list[WiderFace]]:
    """Return the faces of each image, by the image's relative path.

    Raises FRExError where the file cannot be read or has another layout; the message names the wrong line, if there is one.
    """
    try:
        lines = [line.strip() for line in read_regular(path).decode('utf-8-sig').splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise FRExError(f'--wider: {path} cannot be read ({error})') from None
    images: dict[str, list[WiderFace]] = {}
    index = 0
    while index < len(lines):
        if not lines[index]:
            index += 1
            continue
        name = lines[index].replace('\\', '/')
        count = _parse_count(path, lines, index + 1)
        # An image without faces has one line of zeros.
        rows = lines[index + 2 : index + 2 + max(count, 1)]
        if count == 0 and (not rows or rows[0].split() != ['0'] * NUMBERS):
            rows = []
        faces = [_parse_face(path, row, index + 3 + number) for number, row in enumerate(rows)]
        if len(faces) < count:
            raise FRExError(f'--wider: {path}: ends within the {count} faces of {name}')
        images[name] = faces[:count]
        index += 2 + len(rows)
    if not images:
        raise FRExError(f'--wider: {path}: names no image')
    return images


def _parse_count(path: Path, lines: list[str], index: int) -> int:
    """Return the number of faces in line `index` (from 0) of the file; raise FRExError where it is no number."""
    text = lines[index] if index < len(lines) else ''
    if not text.isdecimal():
        raise FRExError(f'--wider: {path}, line {index + 1}: {text[:40]!r} is not the count of faces of {lines[index - 1][:80]}')
    return int(text)


def _parse_face(path: Path, row: str, line: int) -> WiderFace:
    """Parse the text `row` of a face; raise FRExError, which names line number `line`, where it is none."""
    try:
        numbers = [int(number) for number in row.split()]
        if len(numbers) != NUMBERS:
            raise ValueError
    except ValueError:
        raise FRExError(f'--wider: {path}, line {line}: {row[:60]!r} is not a face, {NUMBERS} whole numbers') from None
    return WiderFace(*numbers)


def lookup_by_path(annotations: dict[str, T], relative: str) -> T | None:
    """Return the annotation of the image at `relative`, None where there is none.

    The key is a relative path, and the folders above it may be unknown: the longest ending of the path that is a key counts.
    """
    parts = PurePosixPath(relative).parts
    ends = ('/'.join(parts[start:]) for start in range(len(parts)))
    return next((annotations[end] for end in ends if end in annotations), None)


def match_annotation(box: Float[np.ndarray, '4'], faces: list[WiderFace]) -> WiderFace | None:
    """Return the annotated face whose intersection over union with `box` (left, top, right, bottom) is largest.

    None where `faces` is empty, or that intersection over union is less than MIN_OVERLAP.
    """
    best = max(faces, key=lambda face: intersection_over_union(box, face.box), default=None)
    return best if best is not None and intersection_over_union(box, best.box) >= MIN_OVERLAP else None


def intersection_over_union(one: Float[np.ndarray, '4'], other: Float[np.ndarray, '4']) -> float:
    """Return the intersection over union of two boxes (left, top, right, bottom)."""
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    shared = float(np.prod(np.maximum(sides, 0)))
    areas = sum(float(np.prod(np.maximum(box[2:] - box[:2], 0))) for box in (one, other))
    return shared / max(areas - shared, 1e-9)

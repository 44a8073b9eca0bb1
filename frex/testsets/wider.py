"""WIDER FACE's annotations: a name, a count, and a line for each face, `x y w h blur expression illumination invalid occlusion pose`."""

from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np
from jaxtyping import Float
from msgspec import Struct

from frex.errors import FRExError

T = TypeVar('T')
NUMBERS = 10
# Of the union of two boxes, from which on both show one face.
LEAST_OVERLAP = 0.4


class WiderFace(Struct, frozen=True):
    """`x`, `y`, `w`, `h` in pixels. `blur` and `occlusion` are 0 none, 1 some, 2 heavy; the others 0 or 1, 1 for not typical."""

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
        """Left, top, right, bottom."""
        return np.array([self.x, self.y, self.x + self.w, self.y + self.h], dtype=float)


def read_wider(path: Path) -> dict[str, list[WiderFace]]:
    """The faces of each image by its name; raises FRExError, with the line, where the file is not in this layout."""
    try:
        lines = [line.strip() for line in path.read_text(encoding='utf-8-sig').splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise FRExError(f'--wider: {path} cannot be read ({error})') from None
    pictures: dict[str, list[WiderFace]] = {}
    place = 0
    while place < len(lines):
        if not lines[place]:
            place += 1
            continue
        name = lines[place].replace('\\', '/')
        count = _count(path, lines, place + 1)
        # An image without faces has one line of zeros.
        rows = lines[place + 2 : place + 2 + max(count, 1)]
        if count == 0 and (not rows or rows[0].split() != ['0'] * NUMBERS):
            rows = []
        faces = [_face(path, row, place + 3 + number) for number, row in enumerate(rows)]
        if len(faces) < count:
            raise FRExError(f'--wider: {path}: ends within the {count} faces of {name}')
        pictures[name] = faces[:count]
        place += 2 + len(rows)
    if not pictures:
        raise FRExError(f'--wider: {path}: names no image')
    return pictures


def _count(path: Path, lines: list[str], place: int) -> int:
    text = lines[place] if place < len(lines) else ''
    if not text.isdecimal():
        raise FRExError(f'--wider: {path}, line {place + 1}: {text[:40]!r} is not the count of faces of {lines[place - 1][:80]}')
    return int(text)


def _face(path: Path, row: str, line: int) -> WiderFace:
    try:
        numbers = [int(number) for number in row.split()]
        if len(numbers) != NUMBERS:
            raise ValueError
    except ValueError:
        raise FRExError(f'--wider: {path}, line {line}: {row[:60]!r} is not a face, {NUMBERS} whole numbers') from None
    return WiderFace(*numbers)


def lookup_by_path(annotations: dict[str, T], relative: str) -> T | None:
    """What is annotated of an image: by the end of its path that the annotations name."""
    parts = PurePosixPath(relative).parts
    ends = ('/'.join(parts[start:]) for start in range(len(parts)))
    return next((annotations[end] for end in ends if end in annotations), None)


def matching(box: Float[np.ndarray, '4'], faces: list[WiderFace]) -> WiderFace | None:
    """The annotated face that a detected `box` shows, if any."""
    best = max(faces, key=lambda face: overlap(box, face.box), default=None)
    return best if best is not None and overlap(box, best.box) >= LEAST_OVERLAP else None


def overlap(one: Float[np.ndarray, '4'], other: Float[np.ndarray, '4']) -> float:
    """Intersection over union of two boxes."""
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    shared = float(np.prod(np.maximum(sides, 0)))
    areas = sum(float(np.prod(np.maximum(box[2:] - box[:2], 0))) for box in (one, other))
    return shared / max(areas - shared, 1e-9)

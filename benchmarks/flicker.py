"""Measure how much restored faces of a film flicker, with and without following them from frame to frame.

    python benchmarks/flicker.py -o benchmarks/results/flicker.json --strip docs/images/film.jpg

The film is a crop that moves over scikit-image's portrait, degraded in each frame with fresh noise. Its motion is known, so each restored
frame is shifted onto the next one: what differs then within the face is flicker, in grey levels. PSNR is that of the face beside the clean
film. The networks are the small FREx, facexlib's detector and its parser.
"""

import json
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import cv2
import numpy as np

from frex.demo.degradations import DEGRADATIONS, apply_degradation
from frex.demo.portraits import read_portraits
from frex.images import Image, write_image
from frex.restore.detection.align import face_matrix, scale_of
from frex.restore.faces.restorer import FaceRestorer
from frex.restore.film import restore_film
from frex.restore.film.formats import FilmFormat, FilmFrame
from frex.restore.film.restore_film import FilmOptions, FilmRestorer
from frex.restore.film.segments import WorkFolder
from frex.restore.image_io.photo_file import Photo, from_array

RATE = 25
SIDE = 320
STRIP_SCALE = 0.6
# The crop moves on an ellipse, with these radii in pixels, once in so many frames.
RADII, PERIOD = (30.0, 12.0), 75
# The part of the aligned square, in widths from its centre, in which flicker is measured: what the face fills.
FACE_RADIUS = 0.28
TITLES = ('no_tracking', 'landmarks', 'tracking')


class MemoryFilm:
    """Frames in memory as the source of a film, and a list as its result."""

    def __init__(self, images: Sequence[Image]) -> None:
        self.images, self.results = images, list[Image]()
        self.format = FilmFormat(SIDE, SIDE, Fraction(1, RATE), Fraction(RATE))
        self.notes: list[str] = []

    def frames(self, start: int = 0) -> Iterator[FilmFrame]:
        """Yield the frames."""
        for number in range(start, len(self.images)):
            yield FilmFrame(from_array(self.images[number]), number, number / RATE)

    def late_notes(self, frames: int) -> Iterator[str]:
        """Yield nothing."""
        yield from ()

    def segment(self, number: int) -> AbstractContextManager['MemoryFilm']:
        """Return the film itself."""
        return nullcontext(self)

    def write(self, photo: Photo, pts: int) -> tuple[str, ...]:
        """Keep a restored frame; return no notes."""
        self.results.append(photo.image)
        return ()

    def join(self, segments: int) -> None:
        """Do nothing."""


def offsets(count: int) -> list[tuple[float, float]]:
    """Return the left and the top edge of the crop in each frame, in pixels of the portrait."""
    angles = [2 * np.pi * number / PERIOD for number in range(count)]
    return [(72 + RADII[0] * np.sin(angle), 20 + RADII[1] * (1 - np.cos(angle))) for angle in angles]


def shift(image: Image, left: float, top: float) -> Image:
    """Return the part of an image, SIDE x SIDE pixels, whose corner lies at (left, top)."""
    matrix = np.array([[1, 0, -left], [0, 1, -top]])
    return cv2.warpAffine(image, matrix, (SIDE, SIDE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def measure_flicker(frames: Sequence[Image], places: Sequence[tuple[float, float]], centre: np.ndarray, radius: float) -> float:
    """Return the mean difference in grey levels between each frame and the one before, moved to the same place, within the face.

    `places` are the `offsets` of the frames. The face is the disc of `radius` around `centre`, both in pixels of the portrait.
    """
    differences = []
    for (before, first), (after, second) in pairwise(zip(frames, places, strict=True)):
        moved = shift(before, second[0] - first[0], second[1] - first[1])
        difference = np.abs(after.astype(float) - moved).mean(axis=2)
        differences.append(difference[_disc(centre - second, radius)].mean())
    return float(np.mean(differences))


def measure_psnr(
    frames: Sequence[Image], clean: Sequence[Image], places: Sequence[tuple[float, float]], centre: np.ndarray, radius: float
) -> float:
    """Return the mean over the frames of the PSNR in dB beside the `clean` ones, within the face, which is that of `measure_flicker`."""
    found = []
    for frame, other, place in zip(frames, clean, places, strict=True):
        error = np.square(frame.astype(float) - other)[_disc(centre - place, radius)].mean()
        found.append(10 * np.log10(255**2 / error))
    return float(np.mean(found))


def _disc(centre: np.ndarray, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
    return np.hypot(columns - centre[0], rows - centre[1]) < radius


def _keep_codes(followed: object, code: object) -> object:
    return code


def restore(restorer: FaceRestorer, images: Sequence[Image], title: str) -> list[Image]:
    """Return the restored frames; `title`, one of TITLES, says how faces are followed.

    `no_tracking` restores each frame for itself. `landmarks` steadies the alignment alone, and lets camera and latent code follow each
    frame. `tracking` steadies all of them.
    """
    film, options = MemoryFilm(images), FilmOptions(force=True, tracking=title != 'no_tracking')
    context = patch.object(restore_film, 'steady_codes', _keep_codes) if title == 'landmarks' else nullcontext()
    with TemporaryDirectory() as folder, context:
        FilmRestorer(restorer, options).restore(film, film, WorkFolder(Path(folder, 'film'), {}))
    return film.results


def measure(restorer: FaceRestorer, count: int, strip: Path | None) -> dict[str, dict[str, dict[str, float]]]:
    """Return flicker and PSNR by degradation and film: `clean`, `degraded` and TITLES; films have `count` frames.

    A path `strip` gets a strip of frames of the last degradation, the degraded ones above the restored.
    """
    portrait = read_portraits()[0]
    matrix = face_matrix(portrait.landmarks, 512)
    width = 512 / scale_of(matrix)
    centre, radius = portrait.landmarks.mean(axis=0), FACE_RADIUS * width
    places = offsets(count)
    clean = [shift(portrait.image, *place) for place in places]
    results: dict[str, dict[str, dict[str, float]]] = {}
    for degradation in DEGRADATIONS:
        degraded = [apply_degradation(image, degradation, width, [number]) for number, image in enumerate(clean)]
        films = {'clean': clean, 'degraded': degraded} | {title: restore(restorer, degraded, title) for title in TITLES}
        results[degradation.name] = {
            title: {
                'flicker': round(measure_flicker(frames, places, centre, radius), 3),
                **({} if title == 'clean' else {'psnr': round(measure_psnr(frames, clean, places, centre, radius), 2)}),
            }
            for title, frames in films.items()
        }
        print(degradation.name, results[degradation.name], flush=True)
    if strip is not None:
        chosen = range(0, count, max(1, count // 6))[:6]
        rows = [np.hstack([films[title][number] for number in chosen]) for title in ('degraded', 'tracking')]
        write_image(strip, cv2.resize(np.vstack(rows), None, fx=STRIP_SCALE, fy=STRIP_SCALE, interpolation=cv2.INTER_AREA))
    return results


if __name__ == '__main__':
    parser = ArgumentParser(description=__doc__.partition('\n')[0], allow_abbrev=False)
    parser.add_argument('-o', '--output', required=True, type=Path, metavar='FILE')
    parser.add_argument('--frames', type=int, default=60, metavar='N', help='frames of each film (default: 60)')
    parser.add_argument('--strip', type=Path, metavar='FILE', help='also write a strip of frames, degraded above restored')
    args = parser.parse_args()
    restorer = FaceRestorer.from_pretrained()
    used = {'detector': getattr(restorer.parts.detector(), 'key', None), 'parser': restorer.parts.parser() is not None}
    results = measure(restorer, args.frames, args.strip)
    args.output.write_text(json.dumps({'frames': args.frames, **used, 'grey levels, and dB': results}, indent=1) + '\n')

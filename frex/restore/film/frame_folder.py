"""Folders of the frames of a film: images in natural order in, images of the same names out."""

import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

from frex.errors import FRExError
from frex.images import list_images
from frex.restore.film.formats import FilmFormat, FilmFrame
from frex.restore.film.segments import WorkFolder
from frex.restore.image_io.encoding import FORMATS
from frex.restore.image_io.photo_file import Photo, read_photo, write_photo

# The rate that is assumed of frames: it says how fast faces move.
RATE = Fraction(25)


def natural_key(name: str) -> list[tuple[int, str]]:
    """Return a sort key by which numbers in names count as numbers: frame2 comes before frame10."""
    return [(int(part), '') if part.isdecimal() else (-1, part) for part in re.split(r'(\d+)', name)]


class FrameFolder:
    """The frames in a folder, in natural order of their names; raises FRExError where there is no folder, or no image in it."""

    def __init__(self, folder: Path) -> None:
        self.paths = sorted(list_images(folder, '--frames'), key=lambda path: natural_key(path.name))
        height, width = read_photo(self.paths[0]).image.shape[:2]
        self.format = FilmFormat(width, height, 1 / RATE, RATE)
        self.notes: list[str] = []

    @property
    def stated_frames(self) -> int:
        """The number of frames."""
        return len(self.paths)

    def frames(self, start: int = 0) -> Iterator[FilmFrame]:
        """Yield the frames from number `start` on; raise FRExError where one cannot be read."""
        for number in range(start, len(self.paths)):
            yield FilmFrame(read_photo(self.paths[number]), number, float(number / RATE))

    def late_notes(self, frames: int) -> Iterator[str]:
        """Yield nothing: a folder of frames cannot end early."""
        yield from ()

    def result_names(self, ext: str) -> list[str]:
        """Return the name of each restored frame: its own, with the suffix `ext`, or with `auto` its own where it can be written.

        Raises FRExError where two frames would have one name.
        """
        names = [f'{path.stem}{_writable_suffix(path) if ext == "auto" else ext}' for path in self.paths]
        twice = [name for name, number in Counter(names).items() if number > 1]
        if twice:
            raise FRExError(f'--frames: two frames would be written as {twice[0]}; give another --ext, or leave it out')
        return names


def _writable_suffix(path: Path) -> str:
    return path.suffix if path.suffix.lower() in FORMATS else '.png'


class FrameFolderOutput:
    """Writes restored frames, each under one of `names`, into a folder that gets the name `target` at the end."""

    def __init__(self, target: Path, names: Sequence[str], work: WorkFolder) -> None:
        self.target, self.names, self.folder = target, names, work.folder / 'frames'
        self.notes: dict[str, None] = {}

    @contextmanager
    def segment(self, number: int) -> Iterator['FrameFolderOutput']:
        """Yield what writes the frames of a segment: each is a file of its own."""
        self.folder.mkdir(parents=True, exist_ok=True)
        yield self

    def write(self, photo: Photo, number: int) -> None:
        """Write frame `number`."""
        self.notes.update(dict.fromkeys(write_photo(self.folder / self.names[number], photo)))

    def join(self, segments: int) -> list[str]:
        """Give the folder its name, in place of an earlier result; return notes on what the files cannot hold."""
        if self.target.exists():
            shutil.rmtree(self.target)
        os.replace(self.folder, self.target)
        return list(self.notes)

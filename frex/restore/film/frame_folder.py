"""Folders of the frames of a film: images in natural order in, images of the same names out."""

import os
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

from frex.errors import FRExError, one_line
from frex.restore.film.formats import FilmFormat, FilmFrame
from frex.restore.film.segments import WorkFolder
from frex.restore.image_io.encoding import FORMATS
from frex.restore.image_io.headers import SUFFIXES, reason_to_pass_over
from frex.restore.image_io.photo_file import Photo, read_photo, write_photo
from frex.utils.text import abbreviate

# The rate that is assumed of frames: it says how fast faces move.
RATE = Fraction(25)


def natural_key(name: str) -> list[tuple[int, str]]:
    """Return a sort key by which numbers in names count as numbers: frame2 comes before frame10."""
    return [(int(part), '') if part.isdecimal() else (-1, part) for part in re.split(r'(\d+)', name)]


class FrameFolder:
    """The frames in a folder, in natural order of their names: its images as `reason_to_pass_over` knows them, except hidden ones.

    `format` has the size of the first frame; others may have another size. The rate is assumed to be RATE. `notes` lists what is passed
    over. Raises FRExError where there is no folder or no image in it, and where the first image cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.paths, passed_over = _list_frames(folder)
        self.notes = [one_line(f'{len(names)} passed over ({abbreviate(names)}): {reason}') for reason, names in passed_over.items()]
        if not self.paths:
            raise FRExError('; '.join([f'--frames: no image in {folder} (looked for {", ".join(SUFFIXES)})', *self.notes]))
        height, width = read_photo(self.paths[0]).image.shape[:2]
        self.format = FilmFormat(width, height, 1 / RATE, RATE)

    @property
    def stated_frames(self) -> int:
        """The number of frames, one per image file; unlike that of `FilmReader` it is exact."""
        return len(self.paths)

    def frames(self, start: int = 0) -> Iterator[FilmFrame]:
        """Yield the frames from number `start` on, counted from 0; `pts` is the number. Raise FRExError where one cannot be read."""
        for number in range(start, len(self.paths)):
            yield FilmFrame(read_photo(self.paths[number]), number, float(number / RATE))

    def late_notes(self, frames: int) -> Iterator[str]:
        """Yield nothing: a folder of frames cannot end early."""
        yield from ()

    def result_names(self, ext: str) -> list[str]:
        """Return the name of each restored frame: that of its input, with the suffix `ext`, such as `.png`.

        `auto` keeps the suffix of the input where FREx writes such files, else it is `.png`. Raises FRExError where two frames would have
        one name.
        """
        names = [f'{path.stem}{_writable_suffix(path) if ext == "auto" else ext}' for path in self.paths]
        twice = [name for name, number in Counter(names).items() if number > 1]
        if twice:
            raise FRExError(f'--frames: two frames would be written as {twice[0]}; give another --ext, or leave it out')
        return names


def _list_frames(folder: Path) -> tuple[list[Path], dict[str, list[str]]]:
    """Return the images in a folder, and the names of other files by the reasons why they are none; raise FRExError without a folder."""
    if not folder.is_dir():
        raise FRExError(f'--frames: no folder {folder}')
    images, passed_over = [], defaultdict(list)
    for path in sorted(folder.iterdir(), key=lambda path: natural_key(path.name)):
        reason = '' if path.name.startswith('.') else reason_to_pass_over(path)
        if reason is None:
            images.append(path)
        elif reason:
            passed_over[reason].append(path.name)
    return images, passed_over


def _writable_suffix(path: Path) -> str:
    return path.suffix if path.suffix.lower() in FORMATS else '.png'


class FrameFolderOutput:
    """Writes restored frames into a folder in that of `work`, which `join` moves to `target`; `names` are those of all frames, in order."""

    def __init__(self, target: Path, names: Sequence[str], work: WorkFolder) -> None:
        self.target, self.names, self.folder = target, names, work.folder / 'frames'

    @contextmanager
    def segment(self, number: int) -> Iterator['FrameFolderOutput']:
        """Yield what writes the frames of a segment: each is a file of its own."""
        self.folder.mkdir(parents=True, exist_ok=True)
        yield self

    def write(self, photo: Photo, number: int) -> tuple[str, ...]:
        """Write frame `number`, counted from 0, replace an existing file, and return a note for each thing that its format cannot hold.

        Raises FRExError where the file cannot be written.
        """
        return write_photo(self.folder / self.names[number], photo)

    def join(self, segments: int) -> None:
        """Move the folder to `target`.

        What is there is removed first: a folder with all that is in it, a file, or a link. Raises OSError where that is not possible.
        """
        if self.target.is_dir() and not self.target.is_symlink():
            shutil.rmtree(self.target)
        else:
            self.target.unlink(missing_ok=True)
        os.replace(self.folder, self.target)

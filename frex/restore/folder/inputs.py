"""Which images `--input` means."""

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath, PurePosixPath

from frex.errors import FRExError
from frex.restore.folder.result_names import unique_names
from frex.restore.image_io.decoding import SUFFIXES

LIST_SUFFIX = '.txt'


@dataclass(frozen=True)
class Input:
    """An image's file, and the name of its results: a path without suffix, that of no other input."""

    path: Path
    name: PurePosixPath


class Inputs(list[Input]):
    """`others`: how many files of the folders are no images by their suffix; `unreadable`: folders in them, and why."""

    others = 0
    unreadable: Sequence[tuple[Path, str]] = ()


def find_inputs(inputs: Sequence[str], recursive: bool, leave_out: Collection[Path] = ()) -> Inputs:
    """The images that files, folders, patterns (`photos/*.jpg`) and lists (`.txt`, a path a line) name, each once.

    A folder's are its own and with `recursive` those below it, without hidden ones and those in the folders `leave_out`;
    names mirror its tree. Symbolic links to folders are followed out of it, never round. A file that is named itself is taken
    whatever its suffix. Raises FRExError for what is not there, and where a folder or pattern holds no image; a folder in a
    folder that cannot be listed is among the answer's `unreadable`.
    """
    if not inputs:
        raise FRExError('--input: nothing given')
    search = _Search(recursive, frozenset(map(os.path.realpath, leave_out)))
    for given in inputs:
        search.add(given)
    files = list(search.found.items())
    names = unique_names(files)
    found = Inputs(Input(search.as_given[path], name) for (path, _), name in zip(files, names, strict=True))
    found.others, found.unreadable = search.others, search.unreadable
    return found


class _Search:
    def __init__(self, recursive: bool, leave_out: frozenset[str]) -> None:
        self.recursive = recursive
        self.leave_out = leave_out
        # By absolute path: what of it names the result, and the path as the user wrote it.
        self.found: dict[Path, PurePath] = {}
        self.as_given: dict[Path, Path] = {}
        self.others = 0
        self.unreadable: list[tuple[Path, str]] = []

    def add(self, given: str) -> None:
        path = Path(given)
        # What is there is meant literally: names may hold brackets.
        if given and os.path.isdir(path):
            self._take_pictures(self._files_of(path), path, f'--input: no image in {path}', self._advice(path))
        elif os.path.isfile(path):
            self._take_list(path) if path.suffix.lower() == LIST_SUFFIX else self._take(path, PurePath(path.name))
        elif any(char in given for char in '*?['):
            base, pattern = _literal_part(path)
            self._take_pictures(self._matches(base, pattern), base, f'--input: {given} matches no image')
        else:
            raise FRExError(f'--input: no file, folder or pattern {given or "(an empty name)"}')

    def _take(self, path: Path, relative: PurePath) -> None:
        absolute = Path(os.path.abspath(path))
        self.as_given.setdefault(absolute, path)
        self.found.setdefault(absolute, relative)

    def _take_pictures(self, paths: Iterable[Path], base: Path, none_found: str, advice: str = '') -> None:
        pictures = [path for path in paths if self._is_picture(path)]
        if not pictures:
            raise FRExError(f'{none_found} (looked for {", ".join(SUFFIXES)}){advice}')
        for path in sorted(pictures):
            self._take(path, path.relative_to(base))

    def _is_picture(self, path: Path) -> bool:
        # A link to nowhere is one that cannot be read, and will be told.
        if path.suffix.lower() in SUFFIXES and (os.path.isfile(path) or not os.path.exists(path)):
            return True
        self.others += not os.path.isdir(path)
        return False

    def _advice(self, folder: Path) -> str:
        below = not self.recursive and any(path.is_dir() for path in folder.iterdir())
        return '; --recursive takes the folders in it too' if below else ''

    def _files_of(self, folder: Path) -> Iterator[Path]:
        root, seen = os.path.realpath(folder), set(self.leave_out)
        for parent, folders, files in os.walk(folder, onerror=partial(self._miss, folder), followlinks=True):
            yield from (Path(parent, name) for name in files if not name.startswith('.'))
            kept = [name for name in sorted(folders) if self.recursive and not name.startswith('.')]
            folders[:] = [name for name in kept if _is_new(Path(parent, name), root, seen)]

    def _miss(self, folder: Path, error: OSError) -> None:
        reason = f'cannot be listed ({error.strerror})'
        if error.filename == str(folder):
            raise FRExError(f'--input: {folder} {reason}')
        self.unreadable.append((Path(error.filename), f'the folder {reason}'))

    def _matches(self, base: Path, pattern: str) -> Iterator[Path]:
        try:
            for path in base.glob(pattern):
                folders = [Path(base, *path.relative_to(base).parts[:end]) for end in range(1, len(path.relative_to(base).parts))]
                hidden = any(part.name.startswith('.') for part in (path, *folders))
                if not hidden and not any(os.path.realpath(folder) in self.leave_out for folder in folders):
                    yield path
        except (ValueError, NotImplementedError) as error:
            raise FRExError(f'--input: {pattern} is no pattern ({error})') from None

    def _take_list(self, path: Path) -> None:
        # Names of files need not be text.
        lines = path.read_text('utf-8-sig', 'surrogateescape').split('\n')
        for number, line in enumerate(map(str.strip, lines), 1):
            if not line:
                continue
            places = [place for place in (Path(line), path.parent / line) if os.path.isfile(place)]
            if not places:
                raise FRExError(f'{path}, line {number}: no file {line}')
            mirrored = not PurePath(line).is_absolute() and '..' not in PurePath(line).parts
            self._take(places[0], PurePath(line) if mirrored else PurePath(places[0].name))
        if not any(map(str.strip, lines)):
            raise FRExError(f'{path}: names no image')


def _literal_part(path: Path) -> tuple[Path, str]:
    """The folders of a pattern that are there as they are written, and the rest."""
    base, parts = Path(path.anchor), list(path.parts[1:] if path.anchor else path.parts)
    while len(parts) > 1 and (base / parts[0]).is_dir():
        base /= parts.pop(0)
    return base, str(PurePath(*parts))


def _is_new(folder: Path, root: str, seen: set[str]) -> bool:
    """Whether to walk into a folder: not twice, and not by a link to where the walk is or came from."""
    target = os.path.realpath(folder)
    if folder.is_symlink() and os.path.commonpath([root, target]) in (root, target):
        return False
    if target in seen:
        return False
    seen.add(target)
    return True

"""Find the images that `--input` names: files, folders, patterns and lists."""

import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath, PurePosixPath
from typing import NamedTuple, overload

from frex.errors import FRExError
from frex.restore.image_io.content import START, is_film
from frex.restore.image_io.headers import NOT_AN_IMAGE, SUFFIXES, reason_to_pass_over
from frex.utils.files import describe_special, read_regular, read_start

LIST_SUFFIX = '.txt'
AN_EMPTY_NAME = '(an empty name)'


@dataclass(frozen=True)
class Input:
    """The file of an input image, and the name of its results: a relative path without suffix, which no other input has.

    `film` is True for a film, and for a folder whose images are the frames of a film.
    """

    path: Path
    name: PurePosixPath
    film: bool = False


class Inputs(Sequence[Input]):
    """The inputs of a run. They are kept as texts, since a million paths would take much memory.

    `passed_over` lists the files in the folders that are not taken for images, and `unreadable` folders in them that cannot be listed,
    each with the reason.
    """

    passed_over: Sequence[tuple[Path, str]] = ()
    unreadable: Sequence[tuple[Path, str]] = ()

    def __init__(self, inputs: Iterable[tuple[str, str]], films: Iterable[str] = ()) -> None:
        """Take the path and the name of each input, and the paths of those that are films."""
        self.texts, self.films = list(inputs), frozenset(films)

    def __len__(self) -> int:
        return len(self.texts)

    @overload
    def __getitem__(self, index: int) -> Input: ...

    @overload
    def __getitem__(self, index: slice) -> 'Inputs': ...

    def __getitem__(self, index: int | slice) -> 'Input | Inputs':
        if isinstance(index, slice):
            return Inputs(self.texts[index], self.films)
        path, name = self.texts[index]
        return Input(Path(path), PurePosixPath(name), path in self.films)


def find_inputs(inputs: Sequence[str], recursive: bool, excluded: Collection[Path] = ()) -> Inputs:
    """Return the images that files, folders, patterns (`photos/*.jpg`) and lists (`.txt`, one path per line) name, each once.

    Of a folder all images are taken, and with `recursive` those in its subfolders, except hidden ones and those in the folders
    `excluded`; the names of results mirror its tree. Symbolic links to folders are followed, but never in a circle. A file that is
    named itself or in a list is taken whatever its suffix, and is a film where it is one; films in folders are not taken. The result has
    the order of `inputs`, and within a folder or pattern that of the paths.

    Files in a folder, or that match a pattern, and are no images are added to `passed_over` of the result. A subfolder that cannot be
    listed is added to `unreadable`. Raises FRExError where nothing is given, for an input, or a line of a list, that does not exist, for
    a folder, pattern or list without an image, and for a folder that cannot be listed.
    """
    if not inputs:
        raise FRExError('--input: nothing given')
    search = _Search(recursive, frozenset(map(os.path.realpath, excluded)))
    for path in inputs:
        search.add(path)
    names = unique_names([(path, found.parts) for path, found in search.found.items()])
    result = Inputs(((found.written, name) for found, name in zip(search.found.values(), names, strict=True)), search.films)
    result.passed_over, result.unreadable = sorted(search.passed_over.items()), search.unreadable
    return result


def unique_names(files: Sequence[tuple[str, int]]) -> list[str]:
    """Return a unique name for each file, given its absolute path and the number of its last parts that should be its name.

    A name has no suffix. Where names clash, the files get their name with the suffix, else with one more folder in front and no suffix,
    else with both, and so on until all are unique. The paths must differ, or this never ends.
    """
    levels = [0] * len(files)
    names = [_name(path, parts, 0) for path, parts in files]
    while clashes := _find_clashes(names):
        for indices in clashes:
            lowest = min(levels[index] for index in indices)
            for index in indices:
                if levels[index] == lowest:
                    levels[index] += 1
                    names[index] = _name(*files[index], levels[index])
    return names


def _find_clashes(names: Sequence[str]) -> list[list[int]]:
    """Return the indices of the names that are equal, in groups."""
    first: dict[str, int] = {}
    clashes = defaultdict(list)
    for index, name in enumerate(names):
        if first.setdefault(name, index) != index:
            clashes[name].append(index)
    return [[first[name], *others] for name, others in clashes.items()]


def _name(path: str, parts: int, level: int) -> str:
    folders, with_suffix = divmod(level, 2)
    name = PurePosixPath(*path.split(os.sep)[1:][-parts - folders :])
    # `..png` would have an empty name without its suffix.
    return str(name if with_suffix or name.stem == '.' else name.with_suffix(''))


class _Found(NamedTuple):
    """A path as the user wrote it, and the number of its last parts that name the result."""

    written: str
    parts: int


class _Search:
    """Collects the images that inputs name, one call of `add` for each input."""

    def __init__(self, recursive: bool, excluded: frozenset[str]) -> None:
        self.recursive = recursive
        self.excluded = excluded
        # By absolute paths.
        self.found: dict[str, _Found] = {}
        self.passed_over: dict[Path, str] = {}
        self.unreadable: list[tuple[Path, str]] = []
        # As they are written.
        self.films: set[str] = set()

    def add(self, given: str) -> None:
        """Add the images that one input names; raise FRExError where there are none."""
        path = Path(given)
        # An existing file is never taken as a pattern: its name may hold brackets.
        if given and os.path.isdir(path):
            self._add_images(self._walk_folder(path), path, f'--input: no image in {path}', self._recursive_hint(path))
        elif os.path.isfile(path):
            self._add_list(path) if path.suffix.lower() == LIST_SUFFIX else self._add_named(path, PurePath(path.name))
        elif any(char in given for char in '*?['):
            base, pattern = _split_pattern(path)
            self._add_images(self._match_pattern(base, pattern), base, f'--input: {given} matches no image')
        else:
            special = describe_special(path) if given else None
            raise FRExError(f'--input: {given}: {special}' if special else f'--input: no file, folder or pattern {given or AN_EMPTY_NAME}')

    def _add_named(self, path: Path, relative: PurePath) -> None:
        """Add a file that is named itself, which may be a film."""
        self._add_file(path, relative)
        if path.suffix.lower() not in SUFFIXES and _holds_film(path):
            self.films.add(self.found[os.path.abspath(path)].written)

    def _add_file(self, path: Path, relative: PurePath) -> None:
        absolute, written = os.path.abspath(path), str(path)
        # An absolute path is kept once.
        self.found.setdefault(absolute, _Found(absolute if written == absolute else written, len(relative.parts)))

    def _add_images(self, paths: Iterable[Path], base: Path, none_found: str, hint: str = '') -> None:
        images = []
        for path in paths:
            reason = reason_to_pass_over(path)
            if reason is None:
                images.append(str(path))
            elif reason:
                self.passed_over[path] = reason
        if not images:
            others = (f'; {path}: {reason}' for path, reason in self.passed_over.items() if reason != NOT_AN_IMAGE)
            raise FRExError(f'{none_found} (looked for {", ".join(SUFFIXES)}){hint}{next(others, "")}')
        # As paths are sorted: the names of folders come before what is in them.
        images.sort(key=lambda path: path.replace(os.sep, '\0'))
        for path in map(Path, images):
            self._add_file(path, path.relative_to(base))

    def _recursive_hint(self, folder: Path) -> str:
        below = not self.recursive and any(path.is_dir() for path in folder.iterdir())
        return '; --recursive takes the folders in it too' if below else ''

    def _walk_folder(self, folder: Path) -> Iterator[Path]:
        root, seen = os.path.realpath(folder), set(self.excluded)
        for parent, folders, files in os.walk(folder, onerror=partial(self._record_unreadable, folder), followlinks=True):
            yield from (Path(parent, name) for name in files if not name.startswith('.'))
            kept = [name for name in sorted(folders) if self.recursive and not name.startswith('.')]
            folders[:] = [name for name in kept if _should_enter(Path(parent, name), root, seen)]

    def _record_unreadable(self, folder: Path, error: OSError) -> None:
        reason = f'cannot be listed ({error.strerror})'
        if error.filename == str(folder):
            raise FRExError(f'--input: {folder} {reason}')
        self.unreadable.append((Path(error.filename), f'the folder {reason}'))

    def _match_pattern(self, base: Path, pattern: str) -> Iterator[Path]:
        try:
            for path in base.glob(pattern):
                folders = [Path(base, *path.relative_to(base).parts[:end]) for end in range(1, len(path.relative_to(base).parts))]
                hidden = any(part.name.startswith('.') for part in (path, *folders))
                if not hidden and not any(os.path.realpath(folder) in self.excluded for folder in folders):
                    yield path
        except (ValueError, NotImplementedError) as error:
            raise FRExError(f'--input: {pattern} is no pattern ({error})') from None

    def _add_list(self, path: Path) -> None:
        # File names need not be valid UTF-8.
        lines = read_regular(path).decode('utf-8-sig', 'surrogateescape').split('\n')
        for number, line in enumerate(map(str.strip, lines), 1):
            if not line:
                continue
            candidates = [candidate for candidate in (Path(line), path.parent / line) if os.path.isfile(candidate)]
            if not candidates:
                special = describe_special(Path(line)) or describe_special(path.parent / line)
                raise FRExError(f'{path}, line {number}: {f"{line}: {special}" if special else f"no file {line}"}')
            mirrored = not PurePath(line).is_absolute() and '..' not in PurePath(line).parts
            self._add_named(candidates[0], PurePath(line) if mirrored else PurePath(candidates[0].name))
        if not any(map(str.strip, lines)):
            raise FRExError(f'{path}: names no image')


def _holds_film(path: Path) -> bool:
    """Return whether a file is a film; False where it cannot be read, which is reported when it is restored."""
    try:
        return is_film(read_start(path, START), path.suffix)
    except (OSError, FRExError):
        return False


def find_frame_folders(inputs: Sequence[str]) -> Inputs:
    """Return the folders that are named as inputs, each once and as the frames of a film.

    Raises FRExError where nothing is given, and for what is no folder.
    """
    if not inputs:
        raise FRExError('--input: nothing given')
    paths = list(dict.fromkeys(os.path.abspath(path) for path in inputs))
    for path in paths:
        if not os.path.isdir(path):
            raise FRExError(f'--frames: {path} is no folder; each input must be a folder of the frames of one film')
    return Inputs(zip(paths, unique_names([(path, 1) for path in paths]), strict=True), paths)


def _split_pattern(path: Path) -> tuple[Path, str]:
    """Split a pattern into the leading folders that exist literally, and the rest."""
    base, parts = Path(path.anchor), list(path.parts[1:] if path.anchor else path.parts)
    while len(parts) > 1 and (base / parts[0]).is_dir():
        base /= parts.pop(0)
    return base, str(PurePath(*parts))


def _should_enter(folder: Path, root: str, seen: set[str]) -> bool:
    """Return whether to walk into a folder: not a second time, and not by a link to the walk's root or a folder above or below it."""
    target = os.path.realpath(folder)
    if folder.is_symlink() and os.path.commonpath([root, target]) in (root, target):
        return False
    if target in seen:
        return False
    seen.add(target)
    return True

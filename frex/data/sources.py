"""Where images come from: a folder, an lmdb as BasicSR makes it, or a zip as EG3D and StyleGAN have it."""

import os
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import lmdb

from frex.errors import FRExError
from frex.images import SUFFIXES, Image, decode_image

READING_ZIP = (OSError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error)


class Source(ABC):
    """Images by name, a path below the source; `names` are in their order. Holds nothing open, so that it can be sent to workers.

    Raises FRExError, naming the source as `where`, for one that is missing, damaged or without an image.
    """

    def __init__(self, root: Path, names: Iterable[str], where: str) -> None:
        self.root = root
        self.names = sorted(names)
        if not self.names:
            raise FRExError(f'{where}: no image in {root} (looked for {", ".join(SUFFIXES)})')

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The file of an image; raises FRExError, naming it, where it cannot be read."""

    def picture(self, name: str) -> Image:
        """Raises FRExError, naming it, for a damaged image."""
        return decode_image(self.read(name), self.path(name))

    def path(self, name: str) -> str:
        """Of the file, or of what lies in the archive."""
        return (self.root / name).as_posix()


class FolderSource(Source):
    """A folder with all that is below it; links to folders are followed, hidden files are not images."""

    def __init__(self, root: Path, where: str) -> None:
        if not root.is_dir():
            raise FRExError(f'{where}: no folder {root}')
        try:
            super().__init__(root, _walk(root), where)
        except OSError as error:
            raise FRExError(f'{where}: {root} cannot be read ({error})') from None

    def read(self, name: str) -> bytes:
        try:
            return (self.root / name).read_bytes()
        except OSError as error:
            raise FRExError(f'{self.path(name)}: cannot be read ({error})') from None


class ZipSource(Source):
    """The images of a zip."""

    def __init__(self, root: Path, where: str) -> None:
        if not root.is_file():
            raise FRExError(f'{where}: no file {root}')
        try:
            names = set(_open_archive(root, zipfile.ZipFile).namelist())
        except READING_ZIP as error:
            raise FRExError(f'{where}: {root} is not a zip, or a damaged one ({error})') from None
        super().__init__(root, filter(is_picture, names), where)

    def read(self, name: str) -> bytes:
        return read_member(self.root, name)


class LmdbSource(Source):
    """A folder `NAME.lmdb` with BasicSR's `meta_info.txt`, whose keys are names without suffix."""

    def __init__(self, root: Path, where: str) -> None:
        if not root.is_dir():
            raise FRExError(f'{where}: no lmdb {root}')
        try:
            lines = (root / 'meta_info.txt').read_text(encoding='utf-8').splitlines()
            _check_whole(root)
        except (OSError, UnicodeDecodeError, lmdb.Error) as error:
            raise FRExError(f"{where}: {root} is not an lmdb of BasicSR's layout, or a damaged one ({error})") from None
        # `name.png (height,width,channels) compression`
        super().__init__(root, {line.split(' (')[0].strip() for line in lines if line.strip()}, where)
        self.read(self.names[0])

    def read(self, name: str) -> bytes:
        try:
            with _open_archive(self.root, _open_lmdb).begin() as transaction:
                data = transaction.get(name.rpartition('.')[0].encode())
        except lmdb.Error as error:
            raise FRExError(f'{self.path(name)}: cannot be read ({error})') from None
        if data is None:
            raise FRExError(f'{self.path(name)}: meta_info.txt names it, but the lmdb does not hold it')
        return data


KINDS: dict[str, Callable[[Path, str], Source]] = {'.lmdb': LmdbSource, '.zip': ZipSource}


def open_source(root: Path, backend: str | None, where: str) -> Source:
    """What the name of `root` says it is; `backend` is BasicSR's word for it, `disk` or `lmdb`."""
    if backend not in (None, 'disk', 'lmdb'):
        raise FRExError(f'{where}.io_backend.type: {backend!r}; known: disk, lmdb (or leave io_backend out)')
    if backend is not None and (backend == 'lmdb') != (root.suffix == '.lmdb'):
        raise FRExError(f'{where}.io_backend.type: {backend}, but dataroot_gt is {root}; an lmdb is a folder that ends in .lmdb')
    return KINDS.get(root.suffix.lower(), FolderSource)(root, f'{where}.dataroot_gt')


def read_file(path: Path) -> bytes:
    """A file, or what `faces.zip/name` names in a zip; raises OSError, or FRExError for a damaged zip."""
    for parent in path.parents:
        if parent.suffix.lower() == '.zip' and parent.is_file():
            return read_member(parent, path.relative_to(parent).as_posix())
    return path.read_bytes()


def read_member(archive: Path, name: str) -> bytes:
    """A file of a zip; raises FRExError, naming both, where it cannot be read."""
    try:
        return _open_archive(archive, zipfile.ZipFile).read(name)
    except READING_ZIP as error:
        raise FRExError(f'{archive / name}: cannot be read from the zip ({" ".join(str(error).split())})') from None


def is_picture(name: str) -> bool:
    """By its suffix; neither hidden nor macOS's companion of another file."""
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not any(part.startswith(('.', '__MACOSX')) for part in path.parts)


def _walk(root: Path) -> Iterable[str]:
    """Names of the images below `root`; a folder that several links lead to is read once."""
    seen = set()

    def stop(error: OSError) -> None:
        raise error

    for folder, subfolders, files in os.walk(root, onerror=stop, followlinks=True):
        state = os.stat(folder)
        if (state.st_dev, state.st_ino) in seen:
            subfolders.clear()
            continue
        seen.add((state.st_dev, state.st_ino))
        # The first way to a folder is the one that names its images.
        subfolders.sort()
        yield from filter(is_picture, (Path(folder, file).relative_to(root).as_posix() for file in files))


def _open_lmdb(root: Path) -> Any:
    return lmdb.open(str(root), readonly=True, lock=False, readahead=False, meminit=False)


def _check_whole(root: Path) -> None:
    """An lmdb is mapped into memory: reading beyond the end of a cut file would kill the process."""
    environment = _open_archive(root, _open_lmdb)
    needed = (environment.info()['last_pgno'] + 1) * environment.stat()['psize']
    there = (root / 'data.mdb').stat().st_size
    if there < needed:
        raise OSError(f'data.mdb has {there} bytes of {needed}')


# --- Archives that this process has open: an lmdb must not be opened twice, nor used by a forked child, nor a zip's position shared.

_archives: dict[Path, Any] = {}


def _open_archive(path: Path, opener: Callable[[Path], Any]) -> Any:
    if path not in _archives:
        _archives[path] = opener(path)
    return _archives[path]


def _close_all() -> None:
    while _archives:
        _archives.popitem()[1].close()


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_close_all)


def pictures_below(folder: Path) -> dict[str, Path]:
    """The images that a data set finds in `folder`, by name as labels have it; raises FRExError where there is none."""
    return {name: folder / name for name in FolderSource(folder, 'FOLDER').names}

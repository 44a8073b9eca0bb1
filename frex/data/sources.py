"""Sources of images: a folder, a zip as EG3D and StyleGAN use it, or an lmdb in BasicSR's format."""

import os
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

from frex.errors import FRExError
from frex.images import SUFFIXES, Image, decode_image
from frex.utils.extras import require_package
from frex.utils.files import read_regular

# The errors that reading a missing or damaged zip raises.
READING_ZIP = (OSError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error)


class Source(ABC):
    """Images by name, which is the path below `root`; `names` are sorted. It can be pickled for worker processes, as it holds no open file.

    Raises FRExError, which starts with `where`, for a source that is missing, damaged or without an image.
    """

    def __init__(self, root: Path, names: Iterable[str], where: str) -> None:
        self.root = root
        self.names = sorted(names)
        if not self.names:
            raise FRExError(f'{where}: no image in {root} (looked for {", ".join(SUFFIXES)})')

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Return the content of an image file; raise FRExError, which names the file, where it cannot be read."""

    def read_image(self, name: str) -> Image:
        """Return an image, BGR uint8; raise FRExError, which names the file, where it cannot be read or is damaged."""
        return decode_image(self.read(name), self.path(name))

    def path(self, name: str) -> str:
        """Return the path of an image for people; in an archive it starts with that of the archive."""
        return (self.root / name).as_posix()


class FolderSource(Source):
    """The images of a folder and of all folders below it; links to folders are followed, hidden files and folders are skipped."""

    def __init__(self, root: Path, where: str) -> None:
        if not root.is_dir():
            raise FRExError(f'{where}: no folder {root}')
        try:
            super().__init__(root, _walk(root), where)
        except OSError as error:
            raise FRExError(f'{where}: {root} cannot be read ({error})') from None

    def read(self, name: str) -> bytes:
        try:
            return read_regular(self.root / name)
        except OSError as error:
            raise FRExError(f'{self.path(name)}: cannot be read ({error.strerror})') from None


class ZipSource(Source):
    """The images of a zip archive, in whichever of its folders; hidden ones are skipped."""

    def __init__(self, root: Path, where: str) -> None:
        if not root.is_file():
            raise FRExError(f'{where}: no file {root}')
        try:
            names = set(_open_archive(root, zipfile.ZipFile).namelist())
        except READING_ZIP as error:
            raise FRExError(f'{where}: {root} is not a zip, or a damaged one ({error})') from None
        super().__init__(root, filter(has_image_name, names), where)

    def read(self, name: str) -> bytes:
        return read_member(self.root, name)


class LmdbSource(Source):
    """The images of a folder `NAME.lmdb` with BasicSR's `meta_info.txt`; the keys of the lmdb are image names without suffix.

    Raises FRExError also where the package lmdb is not installed.
    """

    def __init__(self, root: Path, where: str) -> None:
        if not root.is_dir():
            raise FRExError(f'{where}: no lmdb {root}')
        try:
            lines = (root / 'meta_info.txt').read_text(encoding='utf-8').splitlines()
            _check_whole(root)
        except (OSError, UnicodeDecodeError, _load_lmdb().Error) as error:
            raise FRExError(f"{where}: {root} is not an lmdb of BasicSR's layout, or a damaged one ({error})") from None
        # A line is `name.png (height,width,channels) compression`.
        super().__init__(root, {line.split(' (')[0].strip() for line in lines if line.strip()}, where)
        try:
            self.read(self.names[0])
        except FRExError as error:
            raise FRExError(f'{where}: {error}') from None

    def read(self, name: str) -> bytes:
        try:
            with _open_archive(self.root, _open_lmdb).begin() as transaction:
                data = transaction.get(name.rpartition('.')[0].encode())
        except _load_lmdb().Error as error:
            raise FRExError(f'{self.path(name)}: cannot be read ({error})') from None
        if data is None:
            raise FRExError(f'{self.path(name)}: meta_info.txt names it, but the lmdb does not hold it')
        return data


KINDS: dict[str, Callable[[Path, str], Source]] = {'.lmdb': LmdbSource, '.zip': ZipSource}


def open_source(root: Path, backend: str | None, where: str) -> Source:
    """Open the images of `root`, which is an lmdb or a zip where its suffix says so, and a folder otherwise.

    `backend` is BasicSR's `io_backend.type`: `lmdb`, `disk` for a folder or a zip, or None for any. Raises FRExError, which starts with
    `where`, for another backend, for one that contradicts the suffix, and for a source that is missing, damaged or empty. Damaged images
    in it are not noticed here.
    """
    if backend not in (None, 'disk', 'lmdb'):
        raise FRExError(f'{where}.io_backend.type: {backend!r}; known: disk, lmdb (or leave io_backend out)')
    if backend is not None and (backend == 'lmdb') != (root.suffix.lower() == '.lmdb'):
        raise FRExError(f'{where}.io_backend.type: {backend}, but dataroot_gt is {root}; an lmdb is a folder that ends in .lmdb')
    return KINDS.get(root.suffix.lower(), FolderSource)(root, f'{where}.dataroot_gt')


def read_file(path: Path) -> bytes:
    """Return the content of a file, or of a member of a zip for a path like `faces.zip/name`.

    Raises OSError where a file cannot be read, and FRExError where a member of a zip cannot.
    """
    for parent in path.parents:
        if parent.suffix.lower() == '.zip' and parent.is_file():
            return read_member(parent, path.relative_to(parent).as_posix())
    return read_regular(path)


def read_member(archive: Path, name: str) -> bytes:
    """Return the content of the member `name` of a zip; raise FRExError, which names both, where it cannot be read."""
    try:
        return _open_archive(archive, zipfile.ZipFile).read(name)
    except READING_ZIP as error:
        raise FRExError(f'{archive / name}: cannot be read from the zip ({" ".join(str(error).split())})') from None


def has_image_name(name: str) -> bool:
    """Return whether a path has an image's suffix, and neither a hidden part nor macOS's folder `__MACOSX` of resource forks."""
    # A path object would take most of the time of listing a large folder.
    return os.path.splitext(name)[1].lower() in SUFFIXES and not any(part.startswith('.') or part == '__MACOSX' for part in name.split('/'))


def _walk(root: Path) -> Iterable[str]:
    """Yield the names of the images below `root`; a folder that several links lead to is read once. Raises OSError."""
    seen = set()

    def stop(error: OSError) -> None:
        raise error

    for folder, subfolders, files in os.walk(root, onerror=stop, followlinks=True):
        state = os.stat(folder)
        if (state.st_dev, state.st_ino) in seen:
            subfolders.clear()
            continue
        seen.add((state.st_dev, state.st_ino))
        # Sorted, since images are named by the path on which their folder is reached first.
        subfolders.sort()
        below = Path(folder).relative_to(root)
        yield from filter(has_image_name, files if below == Path() else (f'{below.as_posix()}/{file}' for file in files))


def _load_lmdb() -> Any:
    """Import lmdb, which only the extra `train` installs; raise FRExError where it is missing."""
    require_package('lmdb', "reading BasicSR's .lmdb")
    return import_module('lmdb')


def _open_lmdb(root: Path) -> Any:
    return _load_lmdb().open(str(root), readonly=True, lock=False, readahead=False, meminit=False)


def _check_whole(root: Path) -> None:
    """Raise OSError for a truncated lmdb, because it is mapped into memory: reading beyond its end would kill the process."""
    environment = _open_archive(root, _open_lmdb)
    needed = (environment.info()['last_pgno'] + 1) * environment.stat()['psize']
    there = (root / 'data.mdb').stat().st_size
    if there < needed:
        raise OSError(f'data.mdb has {there} bytes of {needed}')


# --- The archives that this process has open. A process must open an lmdb only once; forked children must not share an lmdb or a zip.

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


def find_images(folder: Path, where: str = 'FOLDER') -> dict[str, Path]:
    """Return the path of each image in and below `folder`, by the name that label files give it, in sorted order.

    The name is the path relative to the folder, with `/` and the suffix. Hidden files and folders are skipped. Raises FRExError, which
    starts with `where`, where there is no folder or no image.
    """
    return {name: folder / name for name in FolderSource(folder, where).names}

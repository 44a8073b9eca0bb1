"""Open regular files only, write files atomically, so that a file under its final name is always complete, and hash them."""

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from frex.errors import FRExError

# What is not a file, by the type in its mode.
SPECIAL = {
    stat.S_IFIFO: 'a named pipe',
    stat.S_IFSOCK: 'a socket',
    stat.S_IFCHR: 'a device',
    stat.S_IFBLK: 'a device',
    stat.S_IFDIR: 'a folder',
}


class UnreadableFileError(FRExError, OSError):
    """A file cannot be read, for the `reason`."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f'{path}: cannot be read ({reason})')
        self.path = path
        self.reason = self.strerror = reason

    def __reduce__(self) -> tuple[Any, ...]:
        """Let it come out of a worker process, for which exceptions are made anew of their message alone."""
        return type(self), (self.path, self.reason)


class MissingFileError(FRExError, FileNotFoundError):
    """There is no file of this name."""

    def __init__(self, path: Path) -> None:
        super().__init__(f'{path}: no such file')
        self.path = path
        self.strerror = 'no such file'

    def __reduce__(self) -> tuple[Any, ...]:
        """Let it come out of a worker process, as UnreadableFileError does."""
        return type(self), (self.path,)


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; never wait, as opening a named pipe would.

    Raises MissingFileError where there is none, and UnreadableFileError where it is something else or cannot be read.
    """
    try:
        file = open(path, 'rb', opener=_open_without_waiting)  # noqa: SIM115 (the caller closes it)
    except FileNotFoundError:
        raise MissingFileError(path) from None
    except OSError as error:
        raise UnreadableFileError(path, describe_special(path) or error.strerror or str(error)) from error
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise UnreadableFileError(path, describe_special(path) or 'not a file')
    return file


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, 'O_NONBLOCK', 0))


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file for the block as `open_regular` does; an OSError in the block becomes an UnreadableFileError."""
    with open_regular(path) as file:
        try:
            yield file
        except OSError as error:
            raise UnreadableFileError(path, error.strerror or str(error)) from error


def read_regular(path: Path) -> bytes:
    """Return the content of a regular file; raise MissingFileError and UnreadableFileError as `open_regular` does."""
    with _opened(path) as file:
        return file.read()


def read_start(path: Path, size: int) -> bytes:
    """Return the first `size` bytes of a regular file, or all where it has fewer.

    Raises MissingFileError where there is no file, and UnreadableFileError where it cannot be read.
    """
    with _opened(path) as file:
        return file.read(size)


def describe_special(path: Path) -> str | None:
    """Return that a path is a named pipe, a socket, a device or a folder, and not a file; None for files and where there is nothing."""
    try:
        what = SPECIAL.get(stat.S_IFMT(os.stat(path).st_mode))
    # A name may hold characters that no path can.
    except (OSError, ValueError):
        return None
    return f'{what}, not a file' if what else None


# The names of the temporary files of `write_atomically`, which a killed process leaves.
PARTIAL_FILE = re.compile(r'.*\.[0-9a-f]{8}\.part', re.DOTALL)


@contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` to write to; rename it to `path` at the end of the block, delete it where the block fails.

    An existing file is replaced. The folder must exist. The data are flushed to the disk before the rename, so that a power failure leaves
    no empty file under the final name. Errors of the system are raised as they are.
    """
    # The name is unique, so that two processes that write one file do not rename each other's unfinished file.
    part = path.with_name(f'{path.name}.{uuid4().hex[:8]}.part')
    try:
        yield part
        # A link points to another file, which is not flushed here.
        if part.is_file() and not part.is_symlink():
            with part.open('rb+') as file:
                os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically; create its folder where it is missing, and replace an existing file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(path) as part:
        part.write_bytes(data)


def check_not_existing(path: Path, overwrite: bool) -> None:
    """Raise FRExError where `path` exists, be it a link that leads nowhere, and `overwrite` is false."""
    if os.path.lexists(path) and not overwrite:
        raise FRExError(f'{path}: exists already; --overwrite replaces it')


def check_output_path(path: Path, overwrite: bool) -> None:
    """Raise FRExError where `path` exists and `overwrite` is false, or where its folder is missing."""
    check_not_existing(path, overwrite)
    if not path.parent.is_dir():
        raise FRExError(f'{path}: no folder {path.parent}')


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content as 64 hexadecimal digits.

    Raises MissingFileError where there is no file, and UnreadableFileError where it cannot be read.
    """
    digest = hashlib.sha256()
    with _opened(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()

"""Writing files that are whole or not there."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from frex.errors import FRExError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` to write to; renamed to it at the end, removed where writing failed.

    A file is on its disk before it is renamed, so that a power failure leaves no empty one under its final name.
    """
    # Unique, so that two processes writing one file do not rename each other's half.
    part = path.with_name(f'{path.name}.{uuid4().hex[:8]}.part')
    try:
        yield part
        # Of a link the file is another's.
        if part.is_file() and not part.is_symlink():
            with part.open('rb+') as file:
                os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raise FRExError where a result would replace what is there, unasked, or where its folder is missing."""
    if path.exists() and not overwrite:
        raise FRExError(f'{path}: is there already; --overwrite replaces it')
    if not path.parent.is_dir():
        raise FRExError(f'{path}: no folder {path.parent}')


def sha256(path: Path) -> str:
    """Hexadecimal sum of a file."""
    digest = hashlib.sha256()
    with path.open('rb') as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()

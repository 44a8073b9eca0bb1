"""Write files atomically, so that a file under its final name is always complete, and hash them."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from frex.errors import FRExError


@contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` to write to; rename it to `path` at the end of the block, delete it where the block fails.

    The data are flushed to the disk before the rename, so that a power failure leaves no empty file under the final name.
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


def check_output_path(path: Path, overwrite: bool) -> None:
    """Raise FRExError where `path` exists and `overwrite` is false, or where its folder is missing."""
    if path.exists() and not overwrite:
        raise FRExError(f'{path}: exists already; --overwrite replaces it')
    if not path.parent.is_dir():
        raise FRExError(f'{path}: no folder {path.parent}')


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open('rb') as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()

"""The search for weight files, and the check that they are undamaged."""

import os
from enum import Enum
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from platformdirs import user_cache_path

from frex.errors import FRExError, nearest
from frex.utils.files import describe_special, sha256
from frex.weights.manifest import MOST_BYTES, WeightFile, find_entry, manifest
from frex.weights.small_model import find_model

# The folders, below the working directory, in which other restoration projects keep the same files. They are never written to.
OLD_PLACES = ('experiments/pretrained_models', 'gfpgan/weights', 'weights/facelib', 'facexlib/weights')


class FileStatus(Enum):
    """The state of a weight file; the values are words for people."""

    THERE = 'there'
    MISSING = 'missing'
    DAMAGED = 'damaged'


class WeightFileStatus(NamedTuple):
    """The result of a search for `file`: its `path` unless it is missing and, for a damaged file, in `detail` what is wrong with it."""

    file: WeightFile
    state: FileStatus
    path: Path | None = None
    detail: str = ''


def download_dir(folder: Path | None = None) -> Path:
    """Return the folder for downloads: `folder` (`--weights`), else `$FREX_HOME`, else `./weights` if it exists, else the user's cache."""
    if folder is not None:
        return Path(os.path.expanduser(folder))
    if os.environ.get('FREX_HOME'):
        return Path(os.path.expanduser(os.environ['FREX_HOME']))
    return Path('weights') if Path('weights').is_dir() else user_cache_path('frex') / 'weights'


def search_paths(folder: Path | None = None) -> list[Path]:
    """Return all folders that are searched for weight files, in this order; `folder` (`--weights`) is the first."""
    own = [download_dir(folder), download_dir(), Path('weights'), user_cache_path('frex') / 'weights']
    old = [Path(place) for place in OLD_PLACES]
    facexlib = find_spec('facexlib')
    packaged = [Path(place) / 'weights' for place in (facexlib.submodule_search_locations or [])] if facexlib else []
    return list(dict.fromkeys([*own, *old, *packaged, _torch_hub() / 'checkpoints']))


def _torch_hub() -> Path:
    """Return what `torch.hub.get_dir` returns, without importing torch, which takes long."""
    cache = os.environ.get('XDG_CACHE_HOME', '~/.cache')
    return Path(os.environ.get('TORCH_HOME', f'{cache}/torch')).expanduser() / 'hub'


def verify_file(file: WeightFile, path: Path) -> WeightFileStatus:
    """Compare the size and the checksum of the file at `path` with those of the manifest's entry `file`; return THERE or DAMAGED.

    A file that cannot be read counts as damaged. What the manifest does not state is not compared.
    """
    try:
        size = path.stat().st_size
        if not file.may_have_size(size):
            expected = f'at most {MOST_BYTES:,}' if file.size is None else f'{file.size:,}'
            return WeightFileStatus(file, FileStatus.DAMAGED, path, f'{size:,} bytes instead of {expected}')
        digest = sha256(path)
    except OSError as error:
        return WeightFileStatus(file, FileStatus.DAMAGED, path, f'it cannot be read ({error.strerror or error})')
    if not file.has_sum(digest):
        return WeightFileStatus(file, FileStatus.DAMAGED, path, f'its sha256 begins with {digest[:8]} instead of {file.sha256[0][:8]}')
    return WeightFileStatus(file, FileStatus.THERE, path)


def has_file(key: str, folder: Path | None = None) -> bool:
    """Return whether the file `key` of the manifest is in one of `search_paths(folder)`, whole or damaged.

    Raises FRExError for an unknown key.
    """
    # Unlike Path.is_file, this skips folders without permission to read them.
    return any(os.path.isfile(place / find_entry(key).file) for place in search_paths(folder))


def find_file(file: WeightFile, folder: Path | None = None) -> WeightFileStatus:
    """Search for `file` in `search_paths(folder)`; return its first undamaged copy, else its first damaged one, else MISSING."""
    damaged = None
    for place in search_paths(folder):
        # Unlike Path.is_file, this skips folders without permission to read them.
        if os.path.isfile(place / file.file):
            status = verify_file(file, place / file.file)
            if status.state is FileStatus.THERE:
                return status
            damaged = damaged or status
    return damaged or WeightFileStatus(file, FileStatus.MISSING)


def require_file(name: str | Path, folder: Path | None = None) -> Path:
    """Return the path of the file that an option names, by a key of the manifest, `frex-small`, a path, or `owner/name` on the Hub.

    `folder` is searched first for a key. The file of a key is not downloaded, that of the Hub is (see `find_model`). Raises
    FRExError where the file is missing and, for a key, where it is damaged: the message then names the command that downloads it. A file
    that is given by its path is not checked for damage.
    """
    if str(name) in manifest():
        status = find_file(find_entry(str(name)), folder)
        if status.state is FileStatus.THERE and status.path is not None:
            return status.path
        what = 'is missing' if status.state is FileStatus.MISSING else f'is damaged ({status.path}: {status.detail})'
        raise FRExError(f'{status.file.file} {what}; get it with: frex weights download {name}')
    path = find_model(name)
    special = describe_special(path)
    if special is not None and not os.path.isdir(path):
        raise FRExError(f'{path}: {special}')
    if not os.path.isfile(path):
        hint = nearest(str(name), list(manifest())) if path.parent == Path() else f'give a file, or a key of: {", ".join(manifest())}'
        raise FRExError(f'no file {name}; {hint}')
    return path

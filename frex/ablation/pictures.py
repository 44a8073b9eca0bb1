"""The pictures that all configurations are tested on: clean at the network's size, and degraded."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from frex.errors import FRExError
from frex.files import replacing
from frex.images import read_image, resize, write_image
from frex.peers.face_folder import FaceFolder, result_name
from frex.testsets import degrade_folder

RECORD, OPTIONS = 'ablate.json', 'options'


@dataclass(frozen=True)
class Pictures:
    """Two folders with the same relative names, but for suffixes."""

    gt: Path
    lq: Path


def prepare(gt: Path, lq: Path | None, degrade_seed: int, size: int, folder: Path, num_workers: int) -> Pictures:
    """Clean pictures at `size` in `folder`, and degraded ones, made by `degrade_seed` unless `lq` has them.

    Raises FRExError where `folder` was begun with other pictures.
    """
    clean = FaceFolder.open(gt, '--gt')
    given = {} if lq is None else {'lq_sha256': FaceFolder.open(lq, '--lq').digest()}
    _check(folder, {'gt_sha256': clean.digest(), 'size': size, **(given or {'degrade_seed': degrade_seed})})
    for name in clean.names:
        place = folder / 'gt' / 'images' / result_name(name)
        if not place.exists():
            write_image(place, resize(read_image(clean.picture(name)), size))
    if lq is None:
        lq = degrade_folder(folder / 'gt' / 'images', folder / 'lq', seed=degrade_seed, num_workers=num_workers)
    return Pictures(folder / 'gt' / 'images', lq)


def refuse_others(folder: Path) -> None:
    """Raise FRExError where `folder` holds what no ablation wrote."""
    if folder.is_dir() and not (folder / RECORD).exists():
        # Option files are written before it is known whether they are sound.
        others = [path.name for path in folder.iterdir() if path.name != OPTIONS]
        if others:
            raise FRExError(f'--output: {folder} holds {min(others)} but no {RECORD}; give a new folder')


def _check(folder: Path, settings: dict[str, Any]) -> None:
    """Write down what the pictures are of; raise FRExError where it was something else before."""
    path = folder / RECORD
    try:
        begun = msgspec.json.decode(path.read_bytes(), type=dict[str, Any]) if path.exists() else settings
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FRExError(f'{path}: not a record of this program ({error}); give a new folder') from None
    changed = [key for key in begun | settings if begun.get(key) != settings.get(key)]
    if changed:
        raise FRExError(f'--output: {folder} was begun with another {", ".join(changed)}; give a new folder')
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        part.write_bytes(msgspec.json.format(msgspec.json.encode(settings), indent=2) + b'\n')

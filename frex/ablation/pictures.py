"""The pictures that all configurations are tested on: clean at the network's size, and degraded."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from tqdm import tqdm

from frex.errors import FRExError
from frex.files import replacing
from frex.images import resize, write_image
from frex.labelling.pictures import read_aligned
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

    Raises FRExError where `folder` was begun with other pictures, and before it is begun for one that cannot be read or is not
    square.
    """
    clean = FaceFolder.open(gt, '--gt')
    degraded = None if lq is None else FaceFolder.open(lq, '--lq')
    made_by = {'degrade_seed': degrade_seed} if degraded is None else {'lq_sha256': degraded.digest()}
    settings = {'gt_sha256': clean.digest(), 'size': size, **made_by}
    if _begun(folder, settings) is None:
        _look_at(clean, *([] if degraded is None else [degraded]))
        _begin(folder, settings)
    images = folder / 'gt' / 'images'
    for name in clean.without_result(images):
        write_image(images / result_name(name), resize(read_aligned(clean.picture(name)), size))
    return Pictures(images, lq or degrade_folder(images, folder / 'lq', seed=degrade_seed, num_workers=num_workers))


def refuse_others(folder: Path) -> None:
    """Raise FRExError where `folder` holds what no ablation wrote."""
    if folder.is_dir() and not (folder / RECORD).exists():
        # Option files are written before it is known whether they are sound.
        others = [path.name for path in folder.iterdir() if path.name != OPTIONS]
        if others:
            raise FRExError(f'--output: {folder} holds {min(others)} but no {RECORD}; give a new folder')


def _begun(folder: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """What is written down of the pictures, if anything; raises FRExError where it is not `settings`."""
    path = folder / RECORD
    try:
        begun = msgspec.json.decode(path.read_bytes(), type=dict[str, Any]) if path.exists() else None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FRExError(f'{path}: not a record of this program ({error}); give a new folder') from None
    if begun is not None:
        changed = [key for key in begun | settings if begun.get(key) != settings.get(key)]
        if changed:
            raise FRExError(f'--output: {folder} was begun with another {", ".join(changed)}; give a new folder')
    return begun


def _look_at(*folders: FaceFolder) -> None:
    faces = [each.picture(name) for each in folders for name in each.names]
    for path in tqdm(faces, desc='looking at pictures', unit='face', disable=None):
        read_aligned(path)


def _begin(folder: Path, settings: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / RECORD) as part:
        part.write_bytes(msgspec.json.format(msgspec.json.encode(settings), indent=2) + b'\n')

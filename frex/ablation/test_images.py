"""The images that all configurations are tested on: clean at the network's size, and degraded."""

from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from frex.images import read_aligned, resize, write_image
from frex.peers.face_folder import FaceFolder, result_name
from frex.testsets import degrade_folder
from frex.utils.resumable import ResumableFolder

RECORD, OPTIONS = 'ablate.json', 'options'


@dataclass(frozen=True)
class Pictures:
    """Two folders with the same relative names, but for suffixes."""

    gt: Path
    lq: Path


def prepare(gt: Path, lq: Path | None, degrade_seed: int, size: int, folder: Path, num_workers: int) -> Pictures:
    """Clean images at `size` in `folder`, and degraded ones, made by `degrade_seed` unless `lq` has them.

    Raises FRExError where `folder` was begun with other images, and before it is begun for one that cannot be read or is not
    square.
    """
    clean = FaceFolder.open(gt, '--gt')
    degraded = None if lq is None else FaceFolder.open(lq, '--lq')
    made_by = {'degrade_seed': degrade_seed} if degraded is None else {'lq_sha256': degraded.digest()}
    sections = {'settings': {'gt_sha256': clean.digest(), 'size': size, **made_by}}
    if _record(folder).read(sections) is None:
        _look_at(clean, *([] if degraded is None else [degraded]))
        _record(folder).begin(sections)
    images = folder / 'gt' / 'images'
    for name in clean.without_result(images):
        write_image(images / result_name(name), resize(read_aligned(clean.picture(name)), size))
    return Pictures(images, lq or degrade_folder(images, folder / 'lq', seed=degrade_seed, num_workers=num_workers))


def refuse_others(folder: Path) -> None:
    """Raise FRExError where `folder` holds what no ablation wrote."""
    _record(folder).read({})


def _record(folder: Path) -> ResumableFolder:
    # Option files are written before it is known whether they are sound.
    return ResumableFolder(folder, RECORD, kept=(OPTIONS,))


def _look_at(*folders: FaceFolder) -> None:
    faces = [each.picture(name) for each in folders for name in each.names]
    for path in tqdm(faces, desc='looking at images', unit='face', disable=None):
        read_aligned(path)

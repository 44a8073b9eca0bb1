"""The images on which all configurations are tested: clean ones at the networks' size, and degraded ones."""

from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from frex.images import read_aligned, resize, write_image
from frex.peers.face_folder import FaceFolder, result_name
from frex.testsets import degrade_folder
from frex.utils.resumable import ResumableFolder

RECORD, OPTIONS = 'ablate.json', 'options'


@dataclass(frozen=True)
class TestFolders:
    """The folders of clean and of degraded images, which have the same relative names but for their suffixes."""

    gt: Path
    lq: Path


def prepare_folders(gt: Path, lq: Path | None, degrade_seed: int, size: int, folder: Path, num_workers: int) -> TestFolders:
    """Write the clean images of `gt` at `size` x `size` below `folder`, and degrade them there with `degrade_seed` where `lq` is None.

    Results that exist are kept. The returned folder of degraded images is `lq` itself, where it is given. Raises FRExError where `folder`
    was begun with other images or settings and, before it is begun, for an image that cannot be read or is not square.
    """
    clean = FaceFolder.open(gt, '--gt')
    degraded = None if lq is None else FaceFolder.open(lq, '--lq')
    made_by = {'degrade_seed': degrade_seed} if degraded is None else {'lq_sha256': degraded.digest()}
    sections = {'settings': {'gt_sha256': clean.digest(), 'size': size, **made_by}}
    if _open_folder(folder).read(sections) is None:
        _check_readable(clean, *([] if degraded is None else [degraded]))
        _open_folder(folder).begin(sections)
    images = folder / 'gt' / 'images'
    for name in clean.missing_results(images):
        write_image(images / result_name(name), resize(read_aligned(clean.path(name)), size))
    return TestFolders(images, lq or degrade_folder(images, folder / 'lq', seed=degrade_seed, num_workers=num_workers))


def check_folder_is_ours(folder: Path) -> None:
    """Raise FRExError where `folder` holds files that no ablation wrote."""
    _open_folder(folder).read({})


def _open_folder(folder: Path) -> ResumableFolder:
    """Return the output folder of an ablation as a resumable folder."""
    # Option files are written before they are checked, so they may exist before the record.
    return ResumableFolder(folder, RECORD, kept=(OPTIONS,))


def _check_readable(*folders: FaceFolder) -> None:
    """Raise FRExError for an image that cannot be read or is not square."""
    faces = [folder.path(name) for folder in folders for name in folder.names]
    for path in tqdm(faces, desc='checking images', unit='face', disable=None):
        read_aligned(path)

"""The option files that come with FREx, what differs between two of them, and changes to them on a command line."""

from pathlib import Path
from typing import Any

from frex.options import SHIPPED_FOLDER

OPTION_FILES = sorted(SHIPPED_FOLDER.rglob('*.yml'))
ABLATIONS = [path for path in OPTION_FILES if path.parent.name == 'ablations']
# Changes with which a short training starts no process and writes no tensorboard.
IN_ONE_PROCESS = ['datasets:train:num_worker_per_gpu=0', 'datasets:train:persistent_workers=false', 'logger:use_tb_logger=false']


def differing_keys(one: Any, other: Any, prefix: str = '') -> set[str]:
    """Return the keys of two option files whose values differ, by their paths such as `train.optim_g.lr`."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return {prefix} if one != other else set()
    keys = one.keys() | other.keys()
    return set().union(*(differing_keys(one.get(key), other.get(key), f'{prefix}.{key}'.strip('.')) for key in keys))


def face_folders(train: Path | str, val: Path | None = None) -> list[str]:
    """Return the flag `--force_yml` with the folders of clean images to train on and to validate on; more changes may follow it.

    Without `val` both are the same folder.
    """
    folders = {'train': train, 'val': val or train}
    return ['--force_yml', *(f'datasets:{phase}:dataroot_gt={folder}' for phase, folder in folders.items())]

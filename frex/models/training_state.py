"""Random states for training states, so that a resumed run continues as an unbroken one, and which checkpoints stay."""

import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

NUMBERED = re.compile(r'net_(?:g|d_dual|d_multi_scale|d_latent)_(\d+)\.pth|(\d+)\.state')


def random_state() -> dict[str, Any]:
    """Return this process's random states (torch, its GPU, numpy, `random`) as plain values and tensors.

    Thus the file of a training state can be read without running code in it.
    """
    numpy_state: Any = np.random.get_state(legacy=False)  # noqa: NPY002 (BasicSR's data sets draw from it)
    return {
        'torch': torch.get_rng_state(),
        'cuda': torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        'numpy': [torch.from_numpy(numpy_state['state']['key'].astype(np.int64)), int(numpy_state['state']['pos'])],
        'python': random.getstate(),
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Set the random states that `random_state` returned."""
    torch.set_rng_state(state['torch'])
    if state['cuda'] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'])
    key, position = state['numpy']
    numpy_state: Any = ('MT19937', key.numpy().astype(np.uint32), position)
    np.random.set_state(numpy_state)  # noqa: NPY002
    random.setstate(state['python'])


def gather(value: Any) -> list[Any]:
    """Return the `value` of each process, in the order of their ranks; all processes must call it."""
    if not (dist.is_available() and dist.is_initialized()):
        return [value]
    values = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def archive_later(folders: Sequence[Path], iteration: int, time: str) -> list[Path]:
    """Move the checkpoints and states in `folders` of iterations after `iteration` to `archived_TIME` in each; return their former paths.

    They are of a branch that the run, resumed at `iteration`, has left; other files stay.
    """
    numbered = _numbered_files(folders)
    later = [path for number in sorted(numbered) if number > iteration for path in numbered[number]]
    for path in later:
        archive = path.parent / f'archived_{time}'
        archive.mkdir(exist_ok=True)
        path.rename(archive / path.name)
    return later


def remove_older(folders: Sequence[Path], keep: int) -> None:
    """Remove the checkpoints and states in `folders` of all iterations but the `keep` highest, at least one; other files stay."""
    numbered = _numbered_files(folders)
    for number in sorted(numbered)[:-keep]:
        for path in numbered[number]:
            path.unlink()


def _numbered_files(folders: Sequence[Path]) -> dict[int, list[Path]]:
    """Return the checkpoints and states in `folders`, all of which must exist, by iteration; files of other names are left out.

    Each state comes before its networks, so that whoever removes the files in this order never leaves a state without its networks.
    """
    numbered: dict[int, list[Path]] = {}
    for path in (path for folder in folders for path in folder.iterdir()):
        name = NUMBERED.fullmatch(path.name)
        if name:
            numbered.setdefault(int(name[1] or name[2]), []).append(path)
    return {number: sorted(paths, key=lambda path: path.suffix != '.state') for number, paths in numbered.items()}

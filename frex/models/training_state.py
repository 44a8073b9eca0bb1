"""What a training state holds beside BasicSR's optimisers and schedulers, so that a resumed run goes on as an unbroken one."""

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
    """This process's random numbers; plain values and tensors, so that the file is read without unpickling code."""
    numpy_state: Any = np.random.get_state(legacy=False)  # noqa: NPY002 (BasicSR's data sets draw from it)
    return {
        'torch': torch.get_rng_state(),
        'cuda': torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        'numpy': [torch.from_numpy(numpy_state['state']['key'].astype(np.int64)), int(numpy_state['state']['pos'])],
        'python': random.getstate(),
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Put back what `random_state` answered."""
    torch.set_rng_state(state['torch'])
    if state['cuda'] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'])
    key, position = state['numpy']
    numpy_state: Any = ('MT19937', key.numpy().astype(np.uint32), position)
    np.random.set_state(numpy_state)  # noqa: NPY002
    random.setstate(state['python'])


def gathered(value: Any) -> list[Any]:
    """`value` of each process, in the order of their ranks."""
    if not (dist.is_available() and dist.is_initialized()):
        return [value]
    values = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def forget_older(folders: Sequence[Path], keep: int) -> None:
    """Remove checkpoints and states of all iterations but the last `keep`; all other files stay."""
    numbered: dict[int, list[Path]] = {}
    for path in (path for folder in folders for path in folder.iterdir()):
        name = NUMBERED.fullmatch(path.name)
        if name:
            numbered.setdefault(int(name[1] or name[2]), []).append(path)
    for number in sorted(numbered)[:-keep]:
        # The state first: while one is there, its networks are.
        for path in sorted(numbered[number], key=lambda path: path.suffix != '.state'):
            path.unlink()

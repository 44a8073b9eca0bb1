"""Random draws that follow from a seed and a name alone, so that neither order nor number of the others matters."""

import hashlib
from collections.abc import Iterable

import numpy as np

from frex.errors import FRExError


def generator(seed: int, purpose: str, name: str = '') -> np.random.Generator:
    """The generator of what is drawn for `name`; another `purpose` draws something else."""
    digest = hashlib.sha256(f'{purpose}\0{name}'.encode(errors='surrogateescape')).digest()
    return np.random.default_rng([seed, *np.frombuffer(digest, dtype='<u4').tolist()])


def random_order(names: Iterable[str], seed: int, purpose: str) -> list[str]:
    """`names` in the order that lots give them; leaving some out does not change the order of the others."""
    return sorted(names, key=lambda name: (generator(seed, purpose, name).random(), name))


def check_seed(seed: int) -> None:
    """Raise FRExError for a seed that numpy does not take."""
    if not 0 <= seed < 1 << 32:
        raise FRExError(f'--seed {seed}: a whole number from 0 to 2^32 - 1 is needed')

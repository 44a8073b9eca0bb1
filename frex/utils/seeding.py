"""Random numbers that depend on a seed and a name only, not on how many other names there are or in which order they come."""

import hashlib
from collections.abc import Iterable

import numpy as np

from frex.errors import FRExError


def make_generator(seed: int, purpose: str, name: str = '') -> np.random.Generator:
    """Return a random generator for `name`; different strings `purpose` give independent random numbers for the same seed and name."""
    digest = hashlib.sha256(f'{purpose}\0{name}'.encode(errors='surrogateescape')).digest()
    return np.random.default_rng([seed, *np.frombuffer(digest, dtype='<u4').tolist()])


def shuffle_names(names: Iterable[str], seed: int, purpose: str) -> list[str]:
    """Return `names` in a random order; leaving out some of them does not change the order of the others.

    `purpose` is that of `make_generator`.
    """
    return sorted(names, key=lambda name: (make_generator(seed, purpose, name).random(), name))


def check_seed(seed: int) -> None:
    """Raise FRExError for a `--seed` outside of 0 to 2^32 - 1, the range that numpy accepts."""
    if not 0 <= seed < 1 << 32:
        raise FRExError(f'--seed {seed}: a whole number from 0 to 2^32 - 1 is needed')

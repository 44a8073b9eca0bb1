"""Choose faces so that |yaw| is as evenly distributed as the pool allows."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from frex.errors import FRExError
from frex.utils.seeding import shuffle_names

BIN_PURPOSE, FACE_PURPOSE = 'balance bins', 'balance'
Counts = Int[np.ndarray, ' bins']


@dataclass(frozen=True, eq=False)
class Choice:
    """The chosen names, sorted. `pool` and `chosen` count the faces of each bin of |yaw|, `bin_degrees` wide, starting at 0 degrees.

    `level` is the number of faces taken from each bin that has more; some bins give one more.
    """

    names: list[str]
    bin_degrees: float
    pool: Counts
    chosen: Counts
    level: int


def choose_evenly(yaw: Mapping[str, float], num: int, bin_degrees: float, seed: int) -> Choice:
    """Choose `num` faces by their yaw in degrees (sign ignored): all faces of small bins, and equally many of each of the others.

    Faces within a bin are chosen at random, as are the bins that give one more face where `num` cannot be divided evenly. The random
    numbers depend on seed and name, so a greater `num` chooses the same faces and more. Raises FRExError where `yaw` has fewer than `num`.
    """
    if not 1 <= num <= len(yaw):
        raise FRExError(f'--num {num}: the pool has {len(yaw)} faces whose yaw is known; choose from 1 to {len(yaw)}')
    bins = _group_by_bin(yaw, bin_degrees)
    pool = np.array([len(members) for members in bins])
    order = [int(number) for number in shuffle_names(map(str, range(len(bins))), seed, BIN_PURPOSE)]
    chosen, level = water_fill(pool, num, order)
    taken = [
        name for members, count in zip(bins, chosen.tolist(), strict=True) for name in shuffle_names(members, seed, FACE_PURPOSE)[:count]
    ]
    return Choice(sorted(taken), bin_degrees, pool, chosen, level)


def _group_by_bin(yaw: Mapping[str, float], bin_degrees: float) -> list[list[str]]:
    """Return the names in each bin of |yaw|, from 0 degrees to the largest |yaw|."""
    number = {name: int(abs(degrees) // bin_degrees) for name, degrees in yaw.items()}
    bins: list[list[str]] = [[] for _ in range(max(number.values()) + 1)]
    for name, index in number.items():
        bins[index].append(name)
    return bins


def water_fill(pool: Counts, total: int, order: Sequence[int]) -> tuple[Counts, int]:
    """Return how many faces to take from each bin, `total` in all, and the level: what each bin above it gives before the remainder.

    `pool` counts the faces of each bin. The remainder is smaller than the number of bins above the level; the first of these bins in
    `order` give one more each.
    """
    level = bisect_right(range(int(pool.max()) + 1), total, key=lambda height: int(np.minimum(pool, height).sum())) - 1
    chosen = np.minimum(pool, level)
    above = [index for index in order if pool[index] > level]
    chosen[above[: total - int(chosen.sum())]] += 1
    return chosen, level

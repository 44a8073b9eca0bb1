"""Choosing faces so that |yaw| is as even as a pool allows."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from frex.errors import FRExError
from frex.utils.seeding import random_order

BIN_LOTS, FACE_LOTS = 'balance bins', 'balance'
Counts = Int[np.ndarray, ' bins']


@dataclass(frozen=True, eq=False)
class Choice:
    """`pool` and `chosen` count the faces of each bin of `bin_degrees`, from |yaw| 0 on; no bin has more than `level` + 1 chosen."""

    names: list[str]
    bin_degrees: float
    pool: Counts
    chosen: Counts
    level: int


def choose(yaw: Mapping[str, float], num: int, bin_degrees: float, seed: int) -> Choice:
    """`num` names of `yaw`, in degrees: all of thin bins, of each of the others as many as fill up `num`.

    Lots decide who of a bin is taken, and which bins give one more where `num` cannot be met evenly. They follow from seed and
    name, so a greater `num` takes the same faces and more. Raises FRExError where there are fewer than `num`.
    """
    if not 1 <= num <= len(yaw):
        raise FRExError(f'--num {num}: the pool has {len(yaw)} faces whose pose is known; ask for 1 to {len(yaw)}')
    bins = _bins(yaw, bin_degrees)
    pool = np.array([len(members) for members in bins])
    order = [int(number) for number in random_order(map(str, range(len(bins))), seed, BIN_LOTS)]
    chosen, level = water_fill(pool, num, order)
    taken = [name for members, count in zip(bins, chosen.tolist(), strict=True) for name in random_order(members, seed, FACE_LOTS)[:count]]
    return Choice(sorted(taken), bin_degrees, pool, chosen, level)


def _bins(yaw: Mapping[str, float], bin_degrees: float) -> list[list[str]]:
    number = {name: int(abs(degrees) // bin_degrees) for name, degrees in yaw.items()}
    bins: list[list[str]] = [[] for _ in range(max(number.values()) + 1)]
    for name, place in number.items():
        bins[place].append(name)
    return bins


def water_fill(pool: Counts, total: int, order: Sequence[int]) -> tuple[Counts, int]:
    """How many of each bin make up `total`, and the level: the most of any bin but for the remainder.

    The remainder, fewer than there are bins above the level, is one more from each of the first of them in `order`.
    """
    level = bisect_right(range(int(pool.max()) + 1), total, key=lambda height: int(np.minimum(pool, height).sum())) - 1
    chosen = np.minimum(pool, level)
    above = [place for place in order if pool[place] > level]
    chosen[above[: total - int(chosen.sum())]] += 1
    return chosen, level

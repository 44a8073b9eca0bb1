"""The order in which training visits faces."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import Sampler


class VisitSampler(Sampler):
    """Replaces BasicSR's EnlargedSampler: yields (epoch, visit), so that every visit of a face can be degraded differently.

    A visit is an index into the set repeated `ratio` times; together the ranks make each once an epoch, in an order that
    depends on seed and epoch.
    """

    def __init__(self, dataset: Any, num_replicas: int, rank: int, ratio: int = 1, seed: int = 0) -> None:
        self.num_replicas = num_replicas
        self.rank = rank
        self.seed = seed
        self.epoch = 0
        self.skipped: dict[int, int] = {}
        """Number of visits of this process, by epoch, that an earlier run has made and this one skips."""
        self.num_samples = -(-len(dataset) * ratio // num_replicas)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.num_samples * self.num_replicas)
        visits = order[self.rank :: self.num_replicas][self.skipped.get(self.epoch, 0) :]
        return ((self.epoch, int(visit)) for visit in visits)

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

"""The order in which training visits the images of a data set."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import Sampler


class VisitSampler(Sampler):
    """Replaces BasicSR's EnlargedSampler and yields keys (epoch, visit), so that every visit of an image has a degradation of its own.

    A visit is an index into the data set repeated `ratio` times, and beyond it where `num_replicas`, the number of processes, does not
    divide its length. `rank`, from 0, is the number of this process. In each epoch the processes together make every visit once, in an
    order that depends on `seed` and epoch.
    """

    def __init__(self, dataset: Any, num_replicas: int, rank: int, ratio: int = 1, seed: int = 0) -> None:
        self.num_replicas = num_replicas
        self.rank = rank
        self.seed = seed
        self.epoch = 0
        self.skipped: dict[int, int] = {}
        """Epoch -> number of this process's first visits to skip, because the training that is resumed has already made them."""
        self.num_samples = -(-len(dataset) * ratio // num_replicas)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.num_samples * self.num_replicas)
        visits = order[self.rank :: self.num_replicas][self.skipped.get(self.epoch, 0) :]
        return ((self.epoch, int(visit)) for visit in visits)

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

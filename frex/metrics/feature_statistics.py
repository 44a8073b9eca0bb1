"""The Gaussian that FID sees in a set of images, and the distance of two."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

from frex.errors import FRExError
from frex.metrics.statistics_file import read_stored, write_stored


@dataclass(frozen=True, eq=False)
class FeatureStatistics:
    """Mean and covariance, as of a sample, of the features of `count` images; `network` is the sha256 of the file that made them.

    Both are None where a file does not say.
    """

    mean: Float[np.ndarray, ' feature']
    covariance: Float[np.ndarray, 'feature feature']
    count: int | None = None
    network: str | None = None

    @classmethod
    def load(cls, path: Path, network: str | None = None) -> 'FeatureStatistics':
        """Of a file of BasicSR (`.pth`) or pytorch-fid (`.npz`), without running code.

        Raises FRExError for anything else, and where the file says that it is of another network than `network`.
        """
        gaussian = cls(*read_stored(path))
        if network is not None and gaussian.network not in (None, network):
            raise FRExError(f'{path}: made with a network whose sha256 begins with {gaussian.network:.8}, not {network:.8}; make it anew')
        return gaussian

    def save(self, path: Path) -> None:
        """In BasicSR's format or, where the name ends in `.npz`, in pytorch-fid's."""
        write_stored(path, (self.mean, self.covariance, self.count, self.network))

    @cached_property
    def factor(self) -> Float[np.ndarray, 'feature rank']:
        """F with F F^T = covariance."""
        values, vectors = np.linalg.eigh(self.covariance)
        return vectors * np.sqrt(values.clip(min=0))


class FeatureSums:
    """Sums from which the Gaussian of a set follows, so that no feature is kept."""

    def __init__(self, device: torch.device | str = 'cpu', features: int = 2048) -> None:
        self.count = torch.zeros([], dtype=torch.float64, device=device)
        self.sum = torch.zeros(features, dtype=torch.float64, device=device)
        self.products = torch.zeros(features, features, dtype=torch.float64, device=device)

    def add(self, features: Float[Tensor, 'batch feature']) -> None:
        """Some more."""
        features = features.to(self.sum)
        self.count += len(features)
        self.sum += features.sum(dim=0)
        self.products.addmm_(features.T, features)

    def merge(self, other: 'FeatureSums') -> None:
        """Those of `other` as well."""
        for value, more in zip((self.count, self.sum, self.products), (other.count, other.sum, other.products), strict=True):
            value += more

    def gather(self) -> None:
        """Those of all processes."""
        for value in (self.count, self.sum, self.products):
            dist.all_reduce(value)

    def gaussian(self, network: str | None = None) -> FeatureStatistics:
        """Not a number of less than two images."""
        mean = self.sum / self.count
        covariance = (self.products - self.count * torch.outer(mean, mean)) / (self.count - 1)
        return FeatureStatistics(mean.cpu().numpy(), covariance.cpu().numpy(), int(self.count), network)


def frechet_distance(first: FeatureStatistics, second: FeatureStatistics) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)); nan where one is of less than two images.

    The trace of the root is the sum of the singular values of F1^T F2, which unlike a root of C1 C2 is always real and exact
    to rounding, also for fewer images than features.
    """
    if first.mean.shape != second.mean.shape:
        raise FRExError(f'statistics of {len(first.mean)} and of {len(second.mean)} features cannot be compared')
    if not all(np.isfinite(one.covariance).all() for one in (first, second)):
        return float('nan')
    root = np.linalg.svd(first.factor.T @ second.factor, compute_uv=False).sum()
    between = np.square(first.mean - second.mean).sum()
    # Of a set from itself rounding makes a little less than 0.
    return max(0.0, float(between + np.trace(first.covariance) + np.trace(second.covariance) - 2 * root))

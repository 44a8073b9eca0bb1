"""Mean and covariance of the Inception features of a set of images, and the Frechet distance between two sets."""

from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

from frex.errors import FRExError
from frex.metrics.statistics_file import read_statistics_file, write_statistics_file


@dataclass(frozen=True, eq=False)
class FeatureStatistics:
    """Mean and unbiased covariance of the features of a set of images.

    `count` is the number of images, `network` the SHA-256 of the file of the network that computed the features; both are None where a file
    does not contain them.
    """

    mean: Float[np.ndarray, ' feature']
    covariance: Float[np.ndarray, 'feature feature']
    count: int | None = None
    network: str | None = None

    @classmethod
    def load(cls, path: Path, network: str | None = None) -> 'FeatureStatistics':
        """Read a file in pytorch-fid's format where its name ends in `.npz`, else in BasicSR's; no code in it is run.

        Raises FRExError where the file is missing, damaged or of another kind, and where it says that it was made with another network than
        `network`, a SHA-256; None accepts any network.
        """
        statistics = cls(*read_statistics_file(path))
        if network is not None and statistics.network not in (None, network):
            raise FRExError(
                f'{path}: made with a network whose sha256 begins with {statistics.network:.8}, not {network:.8}; create it again'
            )
        return statistics

    def save(self, path: Path) -> None:
        """Write a file atomically, in pytorch-fid's format where its name ends in `.npz`, else in BasicSR's; replace an existing one."""
        write_statistics_file(path, (self.mean, self.covariance, self.count, self.network))

    @cached_property
    def factor(self) -> Float[np.ndarray, 'feature rank']:
        """Return a matrix F with F F^T = covariance, for `frechet_distance`."""
        values, vectors = np.linalg.eigh(self.covariance)
        return vectors * np.sqrt(values.clip(min=0))


class FeatureSums:
    """Sums over a set of images, in float64 on `device`, from which mean and covariance follow without storing the features.

    `features` is the number of features of an image.
    """

    def __init__(self, device: torch.device | str = 'cpu', features: int = 2048) -> None:
        self.count = torch.zeros([], dtype=torch.float64, device=device)
        self.sum = torch.zeros(features, dtype=torch.float64, device=device)
        self.products = torch.zeros(features, features, dtype=torch.float64, device=device)

    def add(self, features: Float[Tensor, 'batch feature']) -> None:
        """Add the features of a batch of images."""
        features = features.to(self.sum)
        self.count += len(features)
        self.sum += features.sum(dim=0)
        self.products.addmm_(features.T, features)

    def merge(self, other: 'FeatureSums') -> None:
        """Add the images of `other`."""
        for own, added in zip((self.count, self.sum, self.products), (other.count, other.sum, other.products), strict=True):
            own += added

    def gather(self) -> 'FeatureSums':
        """Return the sums over all processes of the distributed group, which must all call this."""
        total = deepcopy(self)
        for value in (total.count, total.sum, total.products):
            dist.all_reduce(value)
        return total

    def statistics(self, network: str | None = None) -> FeatureStatistics:
        """Return mean and covariance of all images added; the covariance of fewer than two is not finite.

        `network`, the SHA-256 of the network's file, is stored in the result.
        """
        mean = self.sum / self.count
        covariance = (self.products - self.count * torch.outer(mean, mean)) / (self.count - 1)
        return FeatureStatistics(mean.cpu().numpy(), covariance.cpu().numpy(), int(self.count), network)


def frechet_distance(first: FeatureStatistics, second: FeatureStatistics) -> float:
    """Return FID, |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)); NaN where a covariance is not finite.

    The trace of the root is computed as the sum of the singular values of F1^T F2, where F F^T = C. Unlike a matrix root of C1 C2 it is
    always real and exact to rounding, even for fewer images than features. Raises FRExError where the numbers of features differ.
    """
    if first.mean.shape != second.mean.shape:
        raise FRExError(f'statistics of {len(first.mean)} and of {len(second.mean)} features cannot be compared')
    if not all(np.isfinite(one.covariance).all() for one in (first, second)):
        return float('nan')
    root = np.linalg.svd(first.factor.T @ second.factor, compute_uv=False).sum()
    between = np.square(first.mean - second.mean).sum()
    # Rounding can give slightly less than 0 for equal sets.
    return max(0.0, float(between + np.trace(first.covariance) + np.trace(second.covariance) - 2 * root))

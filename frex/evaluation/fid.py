"""FID of a folder: against the clean images, also by bin, or against stored statistics."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from frex.evaluation.yaw_bins import Bin
from frex.metrics.feature_statistics import FeatureStatistics, frechet_distance
from frex.metrics.inception import Inception
from frex.metrics.metric import Faces, Metric
from frex.utils.files import sha256

Features = Float[np.ndarray, 'image feature']
NAN = float('nan')


class SampleGaussian(FeatureStatistics):
    """Of the features of some images, fewer of which make it quicker to compare."""

    def __init__(self, features: Features) -> None:
        mean = features.mean(axis=0, dtype=np.float64)
        centred = (features - mean) / np.sqrt(len(features) - 1)
        super().__init__(mean, centred.T @ centred, len(features))
        if len(features) < features.shape[1]:
            # The cached property's place: F F^T is the covariance for this one, too, and it is small.
            self.__dict__['factor'] = centred.T


class SetScorer:
    """`statistics` is a file that `frex statistics` or pytorch-fid wrote; raises FRExError where it or the network is none."""

    def __init__(self, metric: Metric, weights: Path | None, device: torch.device, statistics: Path | None) -> None:
        self.key = metric.key
        self.inception = Inception.from_weights(weights, device)
        self.width = self.inception.features
        self.path = statistics
        self.statistics = None if statistics is None else FeatureStatistics.load(statistics, self.inception.sha256)

    @property
    def notes(self) -> dict[str, str]:
        """For the protocol: what sets are compared with."""
        if self.path is None or self.statistics is None:
            return {'FID against': 'GT, in each bin against GT of that bin; it falls with the number of images, so compare no bins'}
        count = 'an unknown number of' if self.statistics.count is None else self.statistics.count
        return {'FID against': f'{self.path.name}, {count} images, sha256 {sha256(self.path)}; not by bin'}

    def features(self, faces: Faces) -> Features:
        """Of a batch, for `scores`."""
        return self.inception(faces).cpu().numpy()

    def scores(self, features: Features, gt: Features, bins: Sequence[Bin]) -> tuple[float, ...]:
        """Of each bin; against stored statistics of all images only, whose faces are not those of a bin. nan of less than two."""
        if self.statistics is not None:
            return (_distance(features, self.statistics), *[NAN] * (len(bins) - 1))
        return tuple(_distance(features[each.members], gt[each.members]) for each in bins)


def _distance(features: Features, other: Features | FeatureStatistics) -> float:
    if len(features) < 2:
        return NAN
    return frechet_distance(SampleGaussian(features), other if isinstance(other, FeatureStatistics) else SampleGaussian(other))

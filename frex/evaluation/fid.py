"""FID of a folder, against the clean images (of all images and of each bin) or against stored statistics (of all images)."""

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
    """Mean and covariance of the features of some images, with a fast factor where there are fewer images than features."""

    def __init__(self, features: Features) -> None:
        mean = features.mean(axis=0, dtype=np.float64)
        centred = (features - mean) / np.sqrt(len(features) - 1)
        super().__init__(mean, centred.T @ centred, len(features))
        if len(features) < features.shape[1]:
            # This fills the cached property `factor`: F F^T is the covariance for this F, too, and F is small.
            self.__dict__['factor'] = centred.T


class SetScorer:
    """Computes FID. `statistics` is a file of `frex statistics` or pytorch-fid, None for FID against the clean images.

    Raises FRExError where the statistics or the weights of the network are missing or invalid.
    """

    def __init__(self, metric: Metric, weights: Path | None, device: torch.device, statistics: Path | None) -> None:
        self.key = metric.key
        self.inception = Inception.from_weights(weights, device)
        self.width = self.inception.features
        self.path = statistics
        self.statistics = None if statistics is None else FeatureStatistics.load(statistics, self.inception.sha256)

    @property
    def notes(self) -> dict[str, str]:
        """Return the line of the protocol that says what FID is computed against."""
        if self.path is None or self.statistics is None:
            return {'FID against': 'GT, in each bin against GT of that bin; it falls with the number of images, so compare no bins'}
        count = 'an unknown number of' if self.statistics.count is None else self.statistics.count
        return {'FID against': f'{self.path.name}, {count} images, sha256 {sha256(self.path)}; not by bin'}

    def features(self, faces: Faces) -> Features:
        """Return the Inception features of a batch of faces, which `scores` takes."""
        return self.inception(faces).cpu().numpy()

    def scores(self, features: Features, gt: Features, bins: Sequence[Bin]) -> tuple[float, ...]:
        """Return the FID of each bin, NaN for a bin of fewer than two images.

        Against stored statistics only the first bin, which holds all images, has a score: the faces of other bins are a different
        population.
        """
        if self.statistics is not None:
            return (_distance(features, self.statistics), *[NAN] * (len(bins) - 1))
        return tuple(_distance(features[yaw_bin.members], gt[yaw_bin.members]) for yaw_bin in bins)


def _distance(features: Features, other: Features | FeatureStatistics) -> float:
    """Return the Frechet distance of some features to other features or statistics, NaN for fewer than two images."""
    if len(features) < 2:
        return NAN
    return frechet_distance(SampleGaussian(features), other if isinstance(other, FeatureStatistics) else SampleGaussian(other))

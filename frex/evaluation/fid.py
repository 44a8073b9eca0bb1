"""Compute the FID of restored faces: against the clean images, or against stored statistics.

Against clean images there is a score for all faces and one for each bin of |yaw|; against stored statistics only the one for all faces.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from frex.evaluation.yaw_bins import YawBin
from frex.metrics.feature_statistics import FeatureStatistics, frechet_distance
from frex.metrics.inception import Inception
from frex.metrics.metric import Faces, Metric
from frex.utils.files import sha256

Features = Float[np.ndarray, 'image feature']
NAN = float('nan')


class SampleStatistics(FeatureStatistics):
    """Mean and unbiased covariance of the Inception features of at least two images.

    With fewer images than features, the factor of the covariance comes from the features themselves, without an eigendecomposition.
    """

    def __init__(self, features: Features) -> None:
        mean = features.mean(axis=0, dtype=np.float64)
        centred = (features - mean) / np.sqrt(len(features) - 1)
        super().__init__(mean, centred.T @ centred, len(features))
        if len(features) < features.shape[1]:
            # Fill the cached property `factor`: this F, too, has F F^T = covariance, and far fewer columns than the eigenvectors.
            self.__dict__['factor'] = centred.T


class FidScorer:
    """Computes FID. `statistics` is a file of `frex statistics` or pytorch-fid; None compares with the clean images.

    `metric` is the catalogue's entry for FID; `weights` is the folder in which Inception's file is searched for first. A missing file of
    Inception is downloaded. Raises FRExError where that is not possible or not allowed, and where the statistics are missing or invalid.
    """

    def __init__(self, metric: Metric, weights: Path | None, device: torch.device, statistics: Path | None) -> None:
        self.key = metric.key
        self.inception = Inception.from_weights(weights, device)
        self.width = self.inception.features
        self.path = statistics
        self.statistics = None if statistics is None else FeatureStatistics.load(statistics, self.inception.sha256)

    @property
    def notes(self) -> dict[str, str]:
        """Return the protocol's entry `FID against`: what FID compares with."""
        if self.path is None or self.statistics is None:
            return {'FID against': 'GT, in each bin against GT of that bin; it falls with the number of images, so do not compare bins'}
        count = 'an unknown number of' if self.statistics.count is None else self.statistics.count
        return {'FID against': f'{self.path.name}, {count} images, sha256 {sha256(self.path)}; not by bin'}

    def extract_features(self, faces: Faces) -> Features:
        """Return the 2048 Inception features of each face in a batch."""
        return self.inception(faces).cpu().numpy()

    def score_bins(self, features: Features, gt: Features, bins: Sequence[YawBin]) -> tuple[float, ...]:
        """Return the FID of each bin from the features of restored and of clean images; NaN for a bin of fewer than two images.

        Against stored statistics only the first bin, which holds all images, has a score: the stored statistics describe all angles, not
        those of one bin.
        """
        if self.statistics is not None:
            return (_distance(features, self.statistics), *[NAN] * (len(bins) - 1))
        return tuple(_distance(features[yaw_bin.members], gt[yaw_bin.members]) for yaw_bin in bins)


def _distance(features: Features, other: Features | FeatureStatistics) -> float:
    """Return the Frechet distance of restored features to clean features or to stored statistics; NaN for fewer than two images."""
    if len(features) < 2:
        return NAN
    return frechet_distance(SampleStatistics(features), other if isinstance(other, FeatureStatistics) else SampleStatistics(other))

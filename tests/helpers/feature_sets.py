"""Features of sets of images, their statistics, and FID by the formula of its paper."""

import numpy as np
import scipy.linalg
import torch

from frex.metrics.feature_statistics import FeatureSums
from frex.metrics.inception import Inception


def random_features(count, width=24, seed=0, shift=0.0):
    """Return the random features of `count` images, (count, width), which are correlated."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, width, generator=generator) @ torch.randn(width, width, generator=generator) + 3 + shift


def compute_statistics(values):
    """Return the statistics of features, (image, feature), which are added in parts of 7 images."""
    sums = FeatureSums(features=values.shape[1])
    for part in values.split(7):
        sums.add(part)
    return sums.statistics('ab' * 32)


def frechet(first, second):
    """Return the FID of two sets of features, (image, feature), by the formula of its paper, with scipy's matrix root."""
    covariances = [np.cov(features, rowvar=False) for features in (first, second)]
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    between = np.sum((first.mean(axis=0) - second.mean(axis=0)) ** 2)
    return between + np.trace(covariances[0] + covariances[1] - 2 * root)


# --- frex statistics


class EightMeans(Inception):
    """A network in Inception's place: eight features per image, which are means of columns."""

    features, sha256 = 8, 'ab' * 32

    def __init__(self):
        torch.nn.Module.__init__(self)
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, images):
        return self.scale * images.mean(dim=(1, 2))[:, :8]

"""FID (Heusel et al. 2017) for BasicSR's validation: of the results, against the clean images or stored statistics."""

from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from frex.device import choose_device
from frex.images import Image
from frex.metrics.feature_statistics import FeatureStatistics, FeatureSums, frechet_distance
from frex.metrics.inception import KEY, Inception
from frex.tensors import to_tensor
from frex.weights.locate import require_file


class FID:
    """The sums from which FID is computed. `weights` is a key of the manifest or a file; None means random weights, for tests only.

    `statistics` is a file that `frex statistics` wrote; it replaces the clean images.

    BasicSR's `calculate_metric` passes a result and its clean image, or a list of each, as `img` and `img2`. BasicSR's models add what
    a metric returns for each image and divide by the number of images. Therefore FIDs can be added, and their sum divided by the number
    of images is the distance, as `float` of the sum is.
    """

    def __init__(
        self,
        weights: str | None = KEY,
        statistics: str | None = None,
        img: Any = None,
        img2: Any = None,
        better: str = 'lower',
    ) -> None:
        self.inception = _read_inception(weights) if img is None else _shared_inception(weights)
        self.statistics = None if statistics is None else FeatureStatistics.load(Path(statistics).expanduser(), self.inception.sha256)
        if img is not None:
            images = _as_list(img)
            for pair in zip(images, _as_list(img2) if img2 is not None else [None] * len(images), strict=True):
                self.add(*pair)

    @cached_property
    def device(self) -> torch.device:
        """Return the device. It is chosen late: options are checked by creating an FID before a process knows its GPU."""
        return choose_device('auto')

    @cached_property
    def sums(self) -> list[FeatureSums]:
        """Return the sums of the results and, without statistics, of the clean images."""
        self.inception.to(self.device)
        return [FeatureSums(self.device, self.inception.features) for _ in range(1 if self.statistics else 2)]

    @property
    def count(self) -> int:
        """Return the number of results."""
        return int(self.sums[0].count)

    @torch.inference_mode()
    def add(self, img: Image, img2: Image | None = None) -> None:
        """Add a result and its clean image, BGR; raise TypeError where the clean image is needed and missing."""
        for sums, image in zip(self.sums, (img, img2), strict=False):
            if image is None:
                raise TypeError('FID needs a clean image for each result, or statistics')
            sums.add(self.inception(to_tensor(image)[None]))

    def value(self) -> float:
        """Return the FID over the images of all processes, NaN for fewer than two."""
        if dist.is_available() and dist.is_initialized():
            for sums in self.sums:
                sums.gather()
        return float(self)

    @torch.inference_mode()
    def __add__(self, other: 'FID') -> 'FID':
        """Add the images of `other` to this FID."""
        for sums, more in zip(self.sums, other.sums, strict=True):
            sums.merge(more)
        return self

    def __radd__(self, zero: int) -> 'FID':
        return self

    def __truediv__(self, count: int) -> float:
        if count != self.count:
            raise ValueError(f'this FID is of {self.count} images, not {count}')
        return float(self)

    def __float__(self) -> float:
        """Return the FID over the images of this process, NaN for fewer than two."""
        results, *gts = (sums.statistics() for sums in self.sums)
        return frechet_distance(results, self.statistics or gts[0])

    def __repr__(self) -> str:
        return f'<FID of {self.count} images; its float is the distance>'


def _read_inception(weights: str | None) -> Any:
    """Load the Inception network."""
    return Inception(None if weights is None else require_file(weights))


@cache
def _shared_inception(weights: str | None) -> Any:
    """Load the network once: `calculate_metric` creates the metric anew for each pair."""
    return _read_inception(weights)


def _as_list(images: Any) -> list[Image]:
    """Return one image, a list or a batch as a list."""
    return list(images) if isinstance(images, list | tuple) or images.ndim == 4 else [images]

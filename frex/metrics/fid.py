"""FID (Heusel et al. 2017) as BasicSR's validation takes it: between the results and the clean images, or stored statistics."""

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
    """`weights` is a key of the manifest or a file; random if None, which is for tests only.

    `statistics` is a file as `frex statistics` makes it, and takes the place of the clean images.

    BasicSR's `calculate_metric` gives one result and its clean image, or a list of each, as `img` and `img2`. As its models add
    up what a metric returns and divide by the number of images, so FIDs can be added, and their sum divided by that number is
    the distance; `float` of a sum is the same.
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
        """Chosen late: the options are checked by building this, before a process knows its GPU."""
        return choose_device('auto')

    @cached_property
    def sums(self) -> list[FeatureSums]:
        """Of the results and, unless statistics take their place, of the clean images."""
        self.inception.to(self.device)
        return [FeatureSums(self.device, self.inception.features) for _ in range(1 if self.statistics else 2)]

    @property
    def count(self) -> int:
        """How many results there are."""
        return int(self.sums[0].count)

    @torch.inference_mode()
    def add(self, img: Image, img2: Image | None = None) -> None:
        """A result and its clean image, BGR."""
        for sums, image in zip(self.sums, (img, img2), strict=False):
            if image is None:
                raise TypeError('FID needs a clean image for each result, or statistics')
            sums.add(self.inception(to_tensor(image)[None]))

    def value(self) -> float:
        """Over the images of all processes; nan of less than two."""
        if dist.is_available() and dist.is_initialized():
            for sums in self.sums:
                sums.gather()
        return float(self)

    @torch.inference_mode()
    def __add__(self, other: 'FID') -> 'FID':
        """This one, with the images of `other` as well."""
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
        """Over the images of this process; nan of less than two."""
        results, *gts = (sums.gaussian() for sums in self.sums)
        return frechet_distance(results, self.statistics or gts[0])

    def __repr__(self) -> str:
        return f'<FID of {self.count} images; its float is the distance>'


def _read_inception(weights: str | None) -> Any:
    return Inception(None if weights is None else require_file(weights))


@cache
def _shared_inception(weights: str | None) -> Any:
    """The same network each time: `calculate_metric` builds the metric anew for each pair."""
    return _read_inception(weights)


def _as_list(images: Any) -> list[Image]:
    return list(images) if isinstance(images, list | tuple) or images.ndim == 4 else [images]

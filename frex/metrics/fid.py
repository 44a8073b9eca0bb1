"""FID (Heusel et al. 2017) for BasicSR's validation: of the restored images, against the clean images or stored statistics."""

from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from frex.device import choose_device
from frex.images import AnyImage, Image
from frex.metrics.feature_statistics import FeatureStatistics, FeatureSums, frechet_distance
from frex.metrics.inception import KEY, Inception
from frex.tensors import to_tensor
from frex.weights.download import obtain_file


class FID:
    """Accumulates the features of restored and clean images; `float` of it is FID.

    `weights` is a key of the manifest, whose file is downloaded where it is missing, or a file; None means random weights, for tests only.
    `statistics` is a file from `frex statistics`, which replaces the clean images. `img` and `img2` are a restored image and its clean
    image, BGR uint8, or a list of each, as BasicSR's `calculate_metric` passes them; without `img` no image is added yet. `better` is a key
    of BasicSR's option files and not used here. Raises FRExError where the weights cannot be obtained, and where the statistics cannot be
    read or were made with another network.

    BasicSR's models add the values of all images and divide by the number of images. Therefore FIDs can be added, which joins their images,
    and divided by the number of their images, which gives the distance.
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
        """Return the device on which features and their sums are computed: a GPU with CUDA if there is one, else the CPU.

        It is chosen at the first use, since the check of weight files creates an FID before the process knows its GPU.
        """
        return choose_device('auto', needs_float64=True)

    @cached_property
    def sums(self) -> list[FeatureSums]:
        """Return the sums, which `add` updates, over the restored images and, without stored statistics, over the clean images.

        They are created, empty, at the first use, which also moves the Inception network to `device`.
        """
        self.inception.to(self.device)
        return [FeatureSums(self.device, self.inception.features) for _ in range(1 if self.statistics else 2)]

    @property
    def count(self) -> int:
        """Return the number of restored images added."""
        return int(self.sums[0].count)

    @torch.inference_mode()
    def add(self, img: Image, img2: Image | None = None) -> None:
        """Add a restored image and its clean image, BGR uint8; raise TypeError where there are neither a clean image nor statistics."""
        for sums, image in zip(self.sums, (img, img2), strict=False):
            if image is None:
                raise TypeError('FID needs a clean image for each result, or statistics')
            sums.add(self.inception(to_tensor(image)[None]))

    def value(self) -> float:
        """Return the FID over the images of all processes, which must all call this; NaN for fewer than two images."""
        is_distributed = dist.is_available() and dist.is_initialized()
        return self._distance([sums.gather() for sums in self.sums] if is_distributed else self.sums)

    @torch.inference_mode()
    def __add__(self, other: 'FID') -> 'FID':
        """Add the images of `other` to this FID, which it changes and returns."""
        for sums, more in zip(self.sums, other.sums, strict=True):
            sums.merge(more)
        return self

    def __radd__(self, zero: int) -> 'FID':
        """Return this FID; BasicSR adds metrics to 0."""
        return self

    def __truediv__(self, count: int) -> float:
        """Return the FID; raise ValueError unless `count`, by which BasicSR divides, is the number of images."""
        if count != self.count:
            raise ValueError(f'this FID is of {self.count} images, not {count}')
        return float(self)

    def __float__(self) -> float:
        """Return the FID over the images of this process, NaN for fewer than two."""
        return self._distance(self.sums)

    def _distance(self, sums: list[FeatureSums]) -> float:
        results, *gts = (each.statistics() for each in sums)
        return frechet_distance(results, self.statistics or gts[0])

    def __repr__(self) -> str:
        return f'<FID of {self.count} images; its float is the distance>'


def _read_inception(weights: str | None) -> Any:
    """Load the Inception network to the CPU; `weights` is as in `FID`: a key of the manifest, a file, or None for random weights."""
    return Inception(None if weights is None else obtain_file(weights))


@cache
def _shared_inception(weights: str | None) -> Any:
    """Load the network once per process, because `calculate_metric` creates an FID for each pair of images."""
    return _read_inception(weights)


def _as_list(images: Any) -> list[AnyImage]:
    """Return one image, a sequence of images or a batch (image, height, width, channel) as a list of images."""
    return list(images) if isinstance(images, list | tuple) or images.ndim == 4 else [images]

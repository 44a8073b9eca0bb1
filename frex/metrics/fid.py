"""FID (Heusel et al. 2017) as BasicSR's validation takes it: between the results and the clean pictures, or stored statistics."""

from functools import cached_property
from pathlib import Path

import torch
import torch.distributed as dist

from frex.device import choose_device
from frex.images import Image
from frex.metrics.gaussian import FeatureSums, Gaussian, frechet_distance
from frex.metrics.inception import KEY, Inception
from frex.tensors import to_tensor
from frex.weights.places import locate


class FID:
    """`weights` is a key of the manifest or a file; random if None, which is for tests only.

    `statistics` is a file as `frex statistics` makes it, and takes the place of the clean pictures.
    """

    def __init__(self, weights: str | None = KEY, statistics: str | None = None) -> None:
        self.inception = Inception(None if weights is None else locate(weights))
        self.statistics = None if statistics is None else Gaussian.load(Path(statistics).expanduser(), self.inception.sha256)

    @cached_property
    def device(self) -> torch.device:
        """Chosen late: the options are checked by building this, before a process knows its GPU."""
        return choose_device('auto')

    @cached_property
    def sums(self) -> list[FeatureSums]:
        """Of the results and, unless statistics take their place, of the clean pictures."""
        self.inception.to(self.device)
        return [FeatureSums(self.device, self.inception.features) for _ in range(1 if self.statistics else 2)]

    @torch.inference_mode()
    def add(self, img: Image, img2: Image | None = None) -> None:
        """A result and its clean picture, BGR."""
        for sums, image in zip(self.sums, (img, img2), strict=False):
            if image is None:
                raise TypeError('FID needs a clean picture for each result, or statistics')
            sums.add(self.inception(to_tensor(image)[None]))

    def value(self) -> float:
        """Over the pictures of all processes; nan of less than two."""
        if dist.is_available() and dist.is_initialized():
            for sums in self.sums:
                sums.gather()
        results, *gts = (sums.gaussian() for sums in self.sums)
        return frechet_distance(results, self.statistics or gts[0])

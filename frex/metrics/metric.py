"""What evaluation and tables need to know of a metric."""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from functools import partial
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from frex.errors import FRExError
from frex.weights.download import obtain_file

# RGB in [-1, 1], as `frex.tensors.to_tensor` returns them.
Faces = Float[Tensor, 'batch 3 height width']
Scores = Float[Tensor, ' batch']


@runtime_checkable
class MetricFunction(Protocol):
    """A metric that is ready to use, its weights loaded. The images that it gets must be on the device of its network."""

    def __call__(self, restored: Faces, gt: Faces | None) -> Scores:
        """Return one score for each of the `restored` images, NaN where it is undefined.

        `gt` are the clean images in the same order. A metric that needs none ignores them; another raises TypeError where they are None.
        """


@dataclass(frozen=True)
class Metric:
    """A metric of the catalogue. `key` names it in commands and reports, `title` in tables."""

    key: str
    title: str
    better: Literal['higher', 'lower']
    digits: int
    """Decimals in tables."""
    _: KW_ONLY
    needs_gt: bool = True
    """Whether it compares with clean images."""
    compares_sets: bool = False
    """Whether it compares two sets of images, as FID does, which has no `MetricFunction`."""
    on_cpu: bool = False
    """Whether numpy computes it, in several processes; other metrics take batches on a device."""
    weights: tuple[str, ...] = ()
    """Keys of the manifest for the weight files that it needs."""
    check: Callable[[], object] | None = None
    """Raises FRExError where something that it needs beside files of the manifest is missing; None: there is no such thing."""
    protocol: str
    """How it is computed, in one line for people: network, range of values, image size, what is averaged."""
    load: Callable[[Path | None, torch.device], MetricFunction]
    """Loads it to a device; the first argument is the folder of weight files (`--weights`), or None. Missing files are downloaded.

    Raises FRExError, which says what to do, where that is not possible or not allowed.
    """

    @property
    def has_network(self) -> bool:
        """Return whether the metric uses a network, which is best computed on a GPU and kept in memory only once."""
        return bool(self.weights) or self.check is not None

    def missing(self, weights: Path | None) -> str | None:
        """Return what is missing or damaged, in one line with how to get it; None where nothing is. Weight files are downloaded first."""
        problems = []
        checks: list[Callable[[], object]] = [partial(obtain_file, key, weights) for key in self.weights]
        for check in checks if self.check is None else [*checks, self.check]:
            try:
                check()
            except FRExError as error:
                problems.append(str(error))
        return '; '.join(problems) or None


def require_gt(gt: Faces | None) -> Faces:
    """Return the clean images `gt`; raise TypeError where they are None."""
    if gt is None:
        raise TypeError('this metric needs clean images')
    return gt

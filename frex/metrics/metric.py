"""Define a metric: what the tables and the evaluation need to know of it."""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from functools import partial
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from frex.errors import FRExError
from frex.weights.locate import require_file

# RGB in [-1, 1], as `frex.tensors.to_tensor` makes them of images.
Faces = Float[Tensor, 'batch 3 height width']
Scores = Float[Tensor, ' batch']


@runtime_checkable
class MetricFunction(Protocol):
    """A metric that is ready to use; `gt` are the clean images, which a metric without reference ignores."""

    def __call__(self, restored: Faces, gt: Faces | None) -> Scores:
        """Return one score per image, NaN where it is undefined."""


@dataclass(frozen=True)
class Metric:
    """A metric of the catalogue, with its key, its title in tables and how to load it."""

    key: str
    title: str
    better: Literal['higher', 'lower']
    digits: int
    """Decimals in tables."""
    _: KW_ONLY
    needs_gt: bool = True
    compares_sets: bool = False
    """Whether it compares two sets of images, as FID does, which has no `MetricFunction`."""
    on_cpu: bool = False
    """Whether numpy computes it, in several processes; other metrics take batches on a device."""
    weights: tuple[str, ...] = ()
    """The weights that it needs, keys of the manifest."""
    check: Callable[[], object] | None = None
    """A function that raises FRExError where something else than files of the manifest is missing."""
    protocol: str
    """How it is computed, in a line: network, range of values, size, what is averaged."""
    load: Callable[[Path | None, torch.device], MetricFunction]
    """Takes the folder of weights (`--weights`) and a device; raises FRExError, with the command that corrects it, without its files."""

    @property
    def has_network(self) -> bool:
        """Return whether the metric uses a network, which runs best on a GPU and should be in memory only once."""
        return bool(self.weights) or self.check is not None

    def missing(self, weights: Path | None) -> str | None:
        """Return a line on files that are missing or damaged, with the command that corrects it; None where there is no problem."""
        problems = []
        checks: list[Callable[[], object]] = [partial(require_file, key, weights) for key in self.weights]
        for check in checks if self.check is None else [*checks, self.check]:
            try:
                check()
            except FRExError as error:
                problems.append(str(error))
        return '; '.join(problems) or None


def require_gt(gt: Faces | None) -> Faces:
    """Return the clean images; raise TypeError where a metric needs them and there are none."""
    if gt is None:
        raise TypeError('this metric needs clean images')
    return gt

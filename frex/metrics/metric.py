"""What a metric is."""

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
    """A metric, ready to use; `gt` are the clean images, which a metric without reference does not look at."""

    def __call__(self, restored: Faces, gt: Faces | None) -> Scores:
        """One number an image, nan where there is none to tell."""


@dataclass(frozen=True)
class Metric:
    """A metric as tables have it."""

    key: str
    title: str
    better: Literal['higher', 'lower']
    digits: int
    """After the point."""
    _: KW_ONLY
    needs_gt: bool = True
    of_sets: bool = False
    """Of two sets of images, as FID is, which has no `MetricFunction`."""
    on_cpu: bool = False
    """Numpy's work, for many processes; others take batches on a device."""
    weights: tuple[str, ...] = ()
    """Keys of the manifest of weights."""
    check: Callable[[], object] | None = None
    """Raises FRExError where something else than files of the manifest is missing."""
    protocol: str
    """What it is of, in a line: network, range, size, what is averaged."""
    load: Callable[[Path | None, torch.device], MetricFunction]
    """Of the folder of weights (`--weights`) and a device; raises FRExError, with the command that mends it, without its files."""

    @property
    def has_network(self) -> bool:
        """Whether it looks through a network, which a GPU runs best and of which one in memory is enough."""
        return bool(self.weights) or self.check is not None

    def missing(self, weights: Path | None) -> str | None:
        """A line on what is not there or damaged, with the command that mends it; None where all is whole."""
        problems = []
        checks: list[Callable[[], object]] = [partial(require_file, key, weights) for key in self.weights]
        for check in checks if self.check is None else [*checks, self.check]:
            try:
                check()
            except FRExError as error:
                problems.append(str(error))
        return '; '.join(problems) or None


def given(gt: Faces | None) -> Faces:
    """The clean images of a metric that needs them."""
    if gt is None:
        raise TypeError('this metric needs clean images')
    return gt

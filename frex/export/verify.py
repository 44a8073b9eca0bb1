"""Check that an exported network gives the same images as the network that it was made from."""

from collections.abc import Callable

import torch
from torch import Tensor

from frex.errors import FRExError
from frex.export.tracing import ExportWrapper

# The tolerance relative to the largest value: an eighth of the step between two of an image's 256 levels.
TOLERANCE = 1e-3
BATCHES = (1, 2)


@torch.inference_mode()
def largest_difference(exported: Callable[[Tensor], Tensor], wrapper: ExportWrapper) -> float:
    """Return the largest difference on random faces, relative to the largest value or to 1 where that is greater.

    As many faces are given at once as `BATCHES` says.
    """
    size = wrapper.net.out_size
    generator = torch.Generator().manual_seed(0)
    differences = []
    for batch in BATCHES:
        lq = torch.rand(batch, 3, size, size, generator=generator) * 2 - 1
        image = wrapper(lq)
        difference = (exported(lq) - image).abs().max() / image.abs().max().clamp(min=1)
        differences.append(difference.item())
    return max(differences)


def check(exported: Callable[[Tensor], Tensor], wrapper: ExportWrapper) -> float:
    """Return `largest_difference`; raise FRExError unless it is within `TOLERANCE`."""
    difference = largest_difference(exported, wrapper)
    if not difference <= TOLERANCE:
        raise FRExError(f'the exported network differs by {difference:.1e} from FREx, more than {TOLERANCE:g}: nothing written')
    return difference

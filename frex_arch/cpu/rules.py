"""The predicate on which all fast forms of this package rest."""

import torch
from torch import Tensor


def cpu_fast_path(x: Tensor) -> bool:
    """Return whether the fast forms may compute with `x`: it is on a CPU, without gradient, and code is neither compiled nor traced.

    The fast forms work in place, in pieces that fit into the cache, and decide by values, none of which can be recorded. They are not
    for float16, neither that of `x` nor that of autocast, because their powers of 2 would leave its range.
    """
    recorded = torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.jit.is_tracing()
    return x.device.type == 'cpu' and not recorded and torch.float16 not in (x.dtype, _autocast_dtype())


def _autocast_dtype() -> torch.dtype | None:
    return torch.get_autocast_dtype('cpu') if torch.is_autocast_enabled('cpu') else None

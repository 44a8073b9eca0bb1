"""The predicate that says when the fast forms of this package may be used."""

import torch
from torch import Tensor


def cpu_fast_path(x: Tensor) -> bool:
    """Return whether the fast forms may compute with `x`: on a CPU, gradients switched off, neither compiled nor traced, not in float16.

    They work in place, in pieces that fit into the cache, and branch on values, none of which can be recorded. Their powers of 2 would
    leave the range of float16, be it the dtype of `x` or autocast's.
    """
    recorded = torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.jit.is_tracing()
    return x.device.type == 'cpu' and not recorded and torch.float16 not in (x.dtype, _autocast_dtype())


def _autocast_dtype() -> torch.dtype | None:
    return torch.get_autocast_dtype('cpu') if torch.is_autocast_enabled('cpu') else None

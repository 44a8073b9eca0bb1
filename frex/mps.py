"""Let torch compute on the CPU what the GPUs of Macs (MPS) lack, operation by operation, instead of ending with an error."""

import os
import sys

VARIABLE = 'PYTORCH_ENABLE_MPS_FALLBACK'


def allow_mps_fallback() -> None:
    """Switch the fallback on, on a Mac, unless the user has set the variable. Call it before the first import of torch, which reads it."""
    if sys.platform == 'darwin':
        os.environ.setdefault(VARIABLE, '1')

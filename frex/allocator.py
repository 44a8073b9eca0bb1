"""Keeping freed memory: glibc gives back the memory of each large tensor and gets it anew page by page, which is a third of the time."""

import ctypes
import os
import sys

# As glibc's malloc.h numbers them.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
# Tensors of one face are smaller.
KEPT_BYTES = 1 << 30
SWITCH = 'FREX_KEEP_MEMORY'


def keep_freed_memory() -> bool:
    """Let this process and its children reuse what they free; whether it could be done.

    Harmless where the C library is not glibc; switched off by `FREX_KEEP_MEMORY=0` in the environment.
    """
    if os.environ.get(SWITCH) == '0' or not sys.platform.startswith('linux'):
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, 'gnu_get_libc_version'):
        return False
    return all(libc.mallopt(parameter, KEPT_BYTES) for parameter in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD))

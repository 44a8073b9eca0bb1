"""Keeping freed memory: glibc gives back the memory of each large tensor and gets it anew page by page, which is a third of the time."""

import ctypes
import os
import sys

# As glibc's malloc.h numbers them.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
# Tensors of one face are smaller. Some C libraries take no larger threshold for the first than the second number.
KEPT_BYTES, LARGEST_THRESHOLD = 1 << 30, 32 << 20
SWITCH = 'FREX_KEEP_MEMORY'


def keep_freed_memory() -> bool:
    """Let this process, and those it forks, reuse what they free; whether it could be done.

    Harmless where the C library is not glibc; switched off by `FREX_KEEP_MEMORY=0` in the environment.
    """
    if os.environ.get(SWITCH) == '0' or not sys.platform.startswith('linux'):
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, 'gnu_get_libc_version'):
        return False
    kept = libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
    return bool(kept and (libc.mallopt(M_MMAP_THRESHOLD, KEPT_BYTES) or libc.mallopt(M_MMAP_THRESHOLD, LARGEST_THRESHOLD)))

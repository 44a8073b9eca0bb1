"""Let a process keep the memory that it frees.

By default glibc returns the memory of each large tensor to the system and requests it again page by page, which takes a third of the time
of a restoration.
"""

import ctypes
import os
import sys

# Parameter numbers of mallopt in glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
# In bytes. Tensors of one face are smaller than KEEP_BYTES; some versions of glibc accept no mmap threshold above LARGEST_THRESHOLD.
KEEP_BYTES, LARGEST_THRESHOLD = 1 << 30, 32 << 20
SWITCH = 'FREX_KEEP_MEMORY'


def keep_freed_memory() -> bool:
    """Let this process, and those that it forks, reuse the memory that they free; return whether the setting was made.

    It does nothing where the C library is not glibc, and where the environment sets `FREX_KEEP_MEMORY=0`.
    """
    if os.environ.get(SWITCH) == '0' or not sys.platform.startswith('linux'):
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, 'gnu_get_libc_version'):
        return False
    kept = libc.mallopt(M_TRIM_THRESHOLD, KEEP_BYTES)
    return bool(kept and (libc.mallopt(M_MMAP_THRESHOLD, KEEP_BYTES) or libc.mallopt(M_MMAP_THRESHOLD, LARGEST_THRESHOLD)))

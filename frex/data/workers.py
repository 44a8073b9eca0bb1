"""Prepare a process that loads images: it keeps released memory, and a worker runs OpenCV in one thread. No sample changes."""

from functools import cache

import cv2
import numpy as np

# Just below 32 MiB, the largest block whose release raises glibc's thresholds for returning memory to the system.
LEARNT_BYTES = (1 << 25) - (1 << 16)


@cache
def prepare_process(is_worker: bool) -> None:
    """Let this process keep released memory (where its C library is glibc) and, in a worker, let OpenCV use one thread.

    The workers of a loader share the cores. A repeated call does nothing.
    """
    if is_worker:
        cv2.setNumThreads(0)
    # Once a block of this size is released, glibc keeps released memory. Else it may return that of each image to the system and fault it
    # in again page by page, which takes longer than the degradation.
    np.empty(LEARNT_BYTES, dtype=np.uint8)

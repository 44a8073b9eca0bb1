"""What a process does before its first sample; no sample depends on it."""

from functools import cache

import cv2
import numpy as np

# Just below the largest block from whose release glibc learns.
LEARNT_BYTES = (1 << 25) - (1 << 16)


@cache
def prepare_process(is_worker: bool) -> None:
    """In a loader's worker OpenCV takes one thread, since workers would fight over the cores."""
    if is_worker:
        cv2.setNumThreads(0)
    # A released block of this size lets glibc keep what is released from now on. Else it may give back the memory of each image
    # and get it anew page by page, which takes longer than the degradation.
    np.empty(LEARNT_BYTES, dtype=np.uint8)

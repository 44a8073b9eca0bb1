"""Settings of a process that loads data, on which no sample depends."""

from functools import cache

import cv2
import numpy as np

# Just below the largest block whose release raises glibc's threshold for giving memory back.
LEARNT_BYTES = (1 << 25) - (1 << 16)


@cache
def prepare_process(is_worker: bool) -> None:
    """Prepare a process for loading data: keep released memory, and let OpenCV use one thread in workers, which share the cores."""
    if is_worker:
        cv2.setNumThreads(0)
    # A released block of this size lets glibc keep what is released from now on. Else it may give back the memory of each image
    # and get it anew page by page, which takes longer than the degradation.
    np.empty(LEARNT_BYTES, dtype=np.uint8)

"""Environment variables: FREX_OFFLINE, which forbids downloads, and two that must be set before the first import of torch.

One of the two limits how long OpenMP's waiting threads keep a core busy, the other lets torch compute on the CPU what a Mac's GPU lacks.
"""

import os
import sys

# --- Downloads

# The environment variable that forbids downloads.
OFFLINE = 'FREX_OFFLINE'


def is_offline() -> bool:
    """Return whether nothing may be downloaded: FREX_OFFLINE is set, and neither 0 nor empty; `--offline` sets it for its process."""
    return os.environ.get(OFFLINE, '0') not in ('', '0')


# --- Before the first import of torch

SPIN_COUNT = 'GOMP_SPINCOUNT'
# Turns of a waiting thread's loop before it sleeps. GNU OpenMP's own 300,000 last milliseconds, in which the thread keeps a core from
# another process, and from the thread that it waits for. benchmarks/thread_waits.py compares settings.
SPINS = 4000
# Where the user has set one of these variables, the waits stay as they are.
WAITS_DECIDED_BY = (SPIN_COUNT, 'OMP_WAIT_POLICY')
MPS_FALLBACK = 'PYTORCH_ENABLE_MPS_FALLBACK'


def shorten_waits() -> None:
    """Let waiting OpenMP threads sleep sooner, unless the user has set one of WAITS_DECIDED_BY.

    Call it before the first import of torch, which loads OpenMP; processes started later inherit the setting.
    """
    if not any(name in os.environ for name in WAITS_DECIDED_BY):
        os.environ[SPIN_COUNT] = str(SPINS)


def allow_mps_fallback() -> None:
    """On a Mac, let torch compute on the CPU the operations that its GPU (MPS) lacks, instead of ending with an error.

    Call it before the first import of torch, which reads the variable. A value that the user has set stays.
    """
    if sys.platform == 'darwin':
        os.environ.setdefault(MPS_FALLBACK, '1')

"""Shorten the time for which a waiting OpenMP thread keeps a core busy, although another process may need that core."""

import os

VARIABLE = 'GOMP_SPINCOUNT'
# Turns of a waiting thread's loop before it sleeps. GNU OpenMP's own 300,000 last milliseconds, in which the thread keeps a core from
# another process, and from the thread that it waits for. benchmarks/thread_waits.py compares settings.
SPINS = 4000
# Where the user has set one of these variables, nothing is changed.
DECIDED_BY = (VARIABLE, 'OMP_WAIT_POLICY')


def shorten_waits() -> None:
    """Let waiting OpenMP threads sleep sooner. Call it before the first import of torch; processes started later inherit the setting."""
    if not any(name in os.environ for name in DECIDED_BY):
        os.environ[VARIABLE] = str(SPINS)

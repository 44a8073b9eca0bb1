"""Time and memory of what is run."""

import platform
import sys
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self.start = time.perf_counter()

    def __call__(self) -> float:
        return time.perf_counter() - self.start


def own_peak_memory() -> dict[str, int]:
    """The most bytes of memory that this process has held, as `host`; empty where the system does not tell."""
    try:
        # Unlike getrusage's, this does not count what the parent held when it started this process.
        lines = Path('/proc/self/status').read_text(encoding='ascii').splitlines()
        return {'host': 1024 * next(int(line.split()[1]) for line in lines if line.startswith('VmHWM:'))}
    except (OSError, StopIteration):
        pass
    if sys.platform == 'win32':
        return {}
    import resource

    return host_memory(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def host_memory(maxrss: int) -> dict[str, int]:
    """From getrusage's number, which is in bytes on macOS and in units of 1024 elsewhere."""
    return {'host': maxrss * (1 if sys.platform == 'darwin' else 1024)}


def versions_of(packages: Sequence[str]) -> dict[str, str]:
    """Python's and those of `packages` that are installed."""
    found = {'python': platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found

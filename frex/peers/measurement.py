"""Measure the time and the main memory of a process, but not its GPU memory, and list installed versions."""

import platform
import sys
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


class Stopwatch:
    """A stopwatch: calling it returns the seconds since it was created."""

    def __init__(self) -> None:
        self.start = time.perf_counter()

    def __call__(self) -> float:
        return time.perf_counter() - self.start


def read_peak_memory() -> dict[str, int]:
    """Return the most memory that this process has held, as {'host': bytes}; empty where the system does not report it."""
    try:
        # Unlike the value of getrusage, this does not count what the parent held when it started this process.
        lines = Path('/proc/self/status').read_text(encoding='ascii').splitlines()
        return {'host': 1024 * next(int(line.split()[1]) for line in lines if line.startswith('VmHWM:'))}
    except (OSError, StopIteration):
        pass
    if sys.platform == 'win32':
        return {}
    import resource

    return maxrss_to_bytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def maxrss_to_bytes(maxrss: int) -> dict[str, int]:
    """Convert `ru_maxrss`, which is in bytes on macOS and in KiB elsewhere, to {'host': bytes}."""
    return {'host': maxrss * (1 if sys.platform == 'darwin' else 1024)}


def installed_versions(packages: Sequence[str]) -> dict[str, str]:
    """Return the versions of Python and of those of `packages` that are installed, by name."""
    found = {'python': platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found

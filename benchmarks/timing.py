"""Time functions in turns: all candidates run one after the other in each round, so that what disturbs one disturbs all.

Only ratios are to be trusted.
"""

import ctypes
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

PACKAGES = ('torch', 'torchvision', 'numpy', 'spandrel', 'onnxruntime')
Candidates = Mapping[str, Callable[[], Any]]
Times = dict[str, list[float]]


def take_turns(timers: Mapping[str, Callable[[], float]], rounds: int) -> Times:
    """Return the seconds of each candidate in each round, after one round that does not count; a timer runs its candidate once."""
    times: Times = {name: [] for name in timers}
    for _ in range(rounds + 1):
        for name, timer in timers.items():
            times[name].append(timer())
    return {name: round_times[1:] for name, round_times in times.items()}


def time_call(run: Callable[[], Any], device: torch.device) -> float:
    """Return the seconds of one call, including the work of the device."""
    wait_for(device)
    start = time.perf_counter()
    run()
    wait_for(device)
    return time.perf_counter() - start


def wait_for(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def compute_ratios(times: Times, reference: str) -> dict[str, dict[str, float]]:
    """Return each candidate's ratio to `reference`, as median, least and greatest over rounds, and its median seconds."""
    found = {}
    for name, round_times in times.items():
        each = [one / other for one, other in zip(round_times, times[reference], strict=True)]
        found[name] = {'ratio': statistics.median(each), 'least': min(each), 'most': max(each), 'seconds': statistics.median(round_times)}
    return found


def measure_peak_bytes(run: Callable[[], Any], device: torch.device) -> int | None:
    """Return the most memory that a call needs beyond what is allocated before it, on a GPU including that.

    Returns None where the system does not report it.
    """
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
        run()
        return torch.cuda.max_memory_allocated(device)
    try:
        _give_back_freed_memory()
        # Restart the kernel's record of the largest resident size.
        Path('/proc/self/clear_refs').write_text('5')
        before = _read_status_bytes('VmRSS')
        run()
        return _read_status_bytes('VmHWM') - before
    except OSError:
        return None


def _give_back_freed_memory() -> None:
    """Return freed memory to the system, which would otherwise count as allocated before the call."""
    trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)
    if trim:
        trim(0)


def _read_status_bytes(key: str) -> int:
    """Return the entry `key` of /proc/self/status in bytes."""
    line = next(line for line in Path('/proc/self/status').read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024


def count_flops(run: Callable[[], Any]) -> int:
    """Return the floating-point operations of convolutions and matrix products in a call, by torch's counter.

    They are those of the plain forms, which FREx uses with gradients: its other forms need fewer, in operations that the counter does not
    know.
    """
    with torch.enable_grad(), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def measure_matrix_rate(device: torch.device, dtype: torch.dtype = torch.float32) -> float:
    """Return the floating-point operations a second of a large matrix product, the most that the machine can do."""
    size = 8192 if device.type == 'cuda' else 2048
    matrix = torch.randn(size, size, device=device).to(dtype)
    return 2 * size**3 / min(time_call(lambda: matrix @ matrix, device) for _ in range(8))


def measure_bandwidth(device: torch.device) -> float:
    """Return the bytes a second, read and written, of a large copy."""
    megabytes = 4096 if device.type == 'cuda' else 256
    source = torch.zeros(megabytes << 18, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / min(time_call(lambda: target.copy_(source), device) for _ in range(8))


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Return device, number of cores and threads, system and versions."""
    return {
        'device': torch.cuda.get_device_name(device) if device.type == 'cuda' else _processor(),
        'cores': os.cpu_count(),
        'threads': torch.get_num_threads(),
        'system': platform.system(),
        'python': platform.python_version(),
        'versions': {name: found for name in PACKAGES if (found := _version(name))},
    }


def _processor() -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(':')[2].strip() for line in lines if line.startswith('model name')), platform.processor())


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def write_results(path: Path, results: Mapping[str, Any]) -> None:
    """Write JSON with floats rounded to four digits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_round_floats(results), indent=2) + '\n')


def _round_floats(value: Any) -> Any:
    if isinstance(value, float):
        return float(f'{value:.4g}')
    if isinstance(value, Mapping):
        return {key: _round_floats(one) for key, one in value.items()}
    return [_round_floats(one) for one in value] if isinstance(value, list | tuple) else value

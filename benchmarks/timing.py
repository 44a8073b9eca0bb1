"""Timing by turns: contestants run one after the other in each round, so that what disturbs one disturbs all.

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

PACKAGES = ('torch', 'torchvision', 'numpy', 'gfpgan', 'onnxruntime')
Contestants = Mapping[str, Callable[[], Any]]
Times = dict[str, list[float]]


def take_turns(timers: Mapping[str, Callable[[], float]], rounds: int) -> Times:
    """Seconds of each contestant in each round, after one round that does not count; a timer runs its contestant once."""
    times: Times = {name: [] for name in timers}
    for _ in range(rounds + 1):
        for name, timer in timers.items():
            times[name].append(timer())
    return {name: of_rounds[1:] for name, of_rounds in times.items()}


def seconds(run: Callable[[], Any], device: torch.device) -> float:
    """Of one call, the device's work included."""
    wait_for(device)
    start = time.perf_counter()
    run()
    wait_for(device)
    return time.perf_counter() - start


def wait_for(device: torch.device) -> None:
    """Until the device has nothing to do."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def ratios(times: Times, reference: str) -> dict[str, dict[str, float]]:
    """Of each contestant to the reference: median over rounds, smallest and largest; and its median seconds."""
    found = {}
    for name, of_rounds in times.items():
        each = [one / other for one, other in zip(of_rounds, times[reference], strict=True)]
        found[name] = {'ratio': statistics.median(each), 'least': min(each), 'most': max(each), 'seconds': statistics.median(of_rounds)}
    return found


def peak_bytes(run: Callable[[], Any], device: torch.device) -> int | None:
    """Memory that a call takes beyond what is there before it, on a GPU with that; None where the system does not tell."""
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
        run()
        return torch.cuda.max_memory_allocated(device)
    try:
        _give_back_freed_memory()
        # Begins the count of the largest resident size anew.
        Path('/proc/self/clear_refs').write_text('5')
        before = _status('VmRSS')
        run()
        return _status('VmHWM') - before
    except OSError:
        return None


def _give_back_freed_memory() -> None:
    """What a process keeps for later would be taken for what was there before."""
    trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)
    if trim:
        trim(0)


def _status(key: str) -> int:
    line = next(line for line in Path('/proc/self/status').read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024


def flops(run: Callable[[], Any]) -> int:
    """Floating-point operations of convolutions and matrix products, by torch's counter.

    Of the plain forms, which FREx takes with gradients: others need fewer, in operations that the counter does not know.
    """
    with torch.enable_grad(), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def matrix_rate(device: torch.device, dtype: torch.dtype = torch.float32) -> float:
    """Floating-point operations a second of a large matrix product: what the machine can do."""
    size = 8192 if device.type == 'cuda' else 2048
    matrix = torch.randn(size, size, device=device).to(dtype)
    return 2 * size**3 / min(seconds(lambda: matrix @ matrix, device) for _ in range(8))


def bandwidth(device: torch.device) -> float:
    """Bytes a second, read and written, of a copy."""
    megabytes = 4096 if device.type == 'cuda' else 256
    source = torch.zeros(megabytes << 18, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / min(seconds(lambda: target.copy_(source), device) for _ in range(8))


def machine(device: torch.device) -> dict[str, Any]:
    """What the numbers were measured on."""
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
    """JSON, numbers cut to four digits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_rounded(results), indent=2) + '\n')


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f'{value:.4g}')
    if isinstance(value, Mapping):
        return {key: _rounded(one) for key, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list | tuple) else value

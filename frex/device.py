"""Choose the device on which networks run, and their precision, from the values of `--device` and `--precision`."""

import sys
from functools import cache

import torch

from frex.errors import FRExError

PRECISIONS = ('auto', 'fp32', 'bf16')


def _best_device(needs_float64: bool) -> str:
    if torch.cuda.is_available():
        return 'cuda'
    return 'mps' if torch.backends.mps.is_available() and not needs_float64 else 'cpu'


@cache
def _note_mps() -> None:
    """Say once in a process what to expect of MPS."""
    print('device mps: what it lacks is computed on the CPU; --device cpu computes everything there', file=sys.stderr)


def choose_device(name: str, needs_float64: bool = False) -> torch.device:
    """Return the torch device `name`; `auto` is a GPU with CUDA if there is one, else that of a Mac (MPS), else the CPU.

    With `needs_float64`, which MPS lacks, `auto` is never MPS, and MPS by name raises FRExError. The first time that the device is MPS, a
    line on stderr says what to expect. Raises FRExError where the device does not exist or cannot be used.
    """
    if name == 'auto':
        name = _best_device(needs_float64)
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise FRExError(f'--device {name}: not usable here ({str(error).splitlines()[0]})') from None
    if device.type == 'mps':
        if needs_float64:
            raise FRExError(f'--device {name}: it lacks float64, which is needed here; give --device cpu')
        _note_mps()
    return device


@cache
def _note_emulation() -> None:
    """Say once in a process what bfloat16 costs without instructions for it."""
    print('precision bf16: this CPU emulates it and takes more than ten times as long as with fp32', file=sys.stderr)


def choose_precision(name: str, device: torch.device) -> str:
    """Return `name` if it is `fp32` or `bf16`; `auto` is bf16 on CUDA GPUs with compute capability 8.0 or above, else fp32.

    The first time that `bf16` is requested on a CPU without instructions for it, a line on stderr says that it is slow. Raises FRExError
    for any other name.
    """
    if name not in PRECISIONS:
        raise FRExError(f'--precision {name}: must be one of {", ".join(PRECISIONS)}')
    if name == 'bf16' and not has_bfloat16(device):
        _note_emulation()
    if name != 'auto':
        return name
    return 'bf16' if device.type == 'cuda' and torch.cuda.get_device_capability(device) >= (8, 0) else 'fp32'


def has_bfloat16(device: torch.device) -> bool:
    """Return False for a CPU that emulates bfloat16, which takes more than ten times the time of float32; True for any other device."""
    return device.type != 'cpu' or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())

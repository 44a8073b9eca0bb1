"""Choose the device on which networks run, and their precision, from the values of `--device` and `--precision`."""

import sys
from functools import cache

import torch

from frex.errors import FRExError

PRECISIONS = ('auto', 'fp32', 'bf16')


def choose_device(name: str) -> torch.device:
    """Return the torch device `name`; `auto` is a GPU if there is one, else the CPU. Raises FRExError where the device is not usable."""
    if name == 'auto':
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise FRExError(f'--device {name}: not usable here ({str(error).splitlines()[0]})') from None
    return device


@cache
def _note_emulation() -> None:
    """Say once in a process what bfloat16 costs without instructions for it."""
    print('precision bf16: this CPU emulates it and takes more than ten times as long as with fp32', file=sys.stderr)


def choose_precision(name: str, device: torch.device) -> str:
    """Return `fp32` or `bf16`; `auto` is bf16 on GPUs with compute capability 8.0 or above, else fp32.

    Where a CPU emulates bfloat16, a line on stderr says so once. Raises FRExError for another name.
    """
    if name not in PRECISIONS:
        raise FRExError(f'--precision {name}: must be one of {", ".join(PRECISIONS)}')
    if name == 'bf16' and not has_bfloat16(device):
        _note_emulation()
    if name != 'auto':
        return name
    return 'bf16' if device.type == 'cuda' and torch.cuda.get_device_capability(device) >= (8, 0) else 'fp32'


def has_bfloat16(device: torch.device) -> bool:
    """Return whether the device calculates in bfloat16. A CPU that does not emulates it, in more than ten times the time of float32."""
    return device.type != 'cpu' or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())

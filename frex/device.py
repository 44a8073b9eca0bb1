"""Where the networks run, and in which precision."""

import torch

from frex.errors import FRExError

PRECISIONS = ('auto', 'fp32', 'bf16')


def choose_device(name: str) -> torch.device:
    """`auto`, or a torch device; raises FRExError for one that is not there."""
    if name == 'auto':
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise FRExError(f'--device {name}: not usable here ({str(error).splitlines()[0]})') from None
    return device


def choose_precision(name: str, device: torch.device) -> str:
    """`fp32` or `bf16`; `auto` is bf16 on GPUs that calculate in it. Raises FRExError for another name."""
    if name not in PRECISIONS:
        raise FRExError(f'--precision {name}: must be one of {", ".join(PRECISIONS)}')
    if name != 'auto':
        return name
    return 'bf16' if device.type == 'cuda' and torch.cuda.get_device_capability(device) >= (8, 0) else 'fp32'

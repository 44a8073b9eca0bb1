"""Choose the device on which networks run, and their precision, from the values of `--device` and `--precision`."""

import torch

from frex.errors import FRExError

PRECISIONS = ('auto', 'fp32', 'bf16')


def choose_device(name: str) -> torch.device:
    """Return the torch device of that name, for `auto` a GPU if there is one; raise FRExError where the device is not usable."""
    if name == 'auto':
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise FRExError(f'--device {name}: not usable here ({str(error).splitlines()[0]})') from None
    return device


def choose_precision(name: str, device: torch.device) -> str:
    """Return `fp32` or `bf16`, for `auto` bf16 on GPUs that calculate in it; raise FRExError for another name."""
    if name not in PRECISIONS:
        raise FRExError(f'--precision {name}: must be one of {", ".join(PRECISIONS)}')
    if name != 'auto':
        return name
    return 'bf16' if device.type == 'cuda' and torch.cuda.get_device_capability(device) >= (8, 0) else 'fp32'

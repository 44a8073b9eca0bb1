"""Where the networks run, and in which precision."""

from typing import TypeVar

import torch
from torch import nn

from frex.errors import FRExError

Network = TypeVar('Network', bound=nn.Module)

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


def ready(net: Network, device: torch.device) -> Network:
    """`net` itself on `device`, in evaluation mode; on a processor with weights as its convolutions take them without a copy."""
    net = net.to(device).eval()
    if device.type == 'cpu':
        for module in net.modules():
            for parameter in module.parameters(recurse=False):
                if parameter.ndim >= 4:
                    parameter.data = channels_last(parameter.data, getattr(module, 'upsample', False))
    return net


def channels_last(weight: torch.Tensor, transposed: bool = False) -> torch.Tensor:
    """The same numbers, (..., out, in, k, k), in that memory format; `transposed` for convolutions that take (in, out, k, k)."""
    if weight.ndim == 5:
        return channels_last(weight[0], transposed)[None]
    if transposed:
        return channels_last(weight.transpose(0, 1)).transpose(0, 1)
    return weight.contiguous(memory_format=torch.channels_last)

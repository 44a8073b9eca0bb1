"""The memory layout of convolution weights with which inference on a CPU is fastest."""

from typing import TypeVar

import torch
from torch import nn

Network = TypeVar('Network', bound=nn.Module)


def prepare_for_inference(net: Network, device: torch.device) -> Network:
    """Move `net` to `device`, set it to evaluation mode, and return it.

    On a CPU its convolution weights are stored in channels-last format, so that no call has to copy them.
    """
    net = net.to(device).eval()
    if device.type == 'cpu':
        for module in net.modules():
            for parameter in module.parameters(recurse=False):
                if parameter.ndim >= 4:
                    parameter.data = channels_last(parameter.data, getattr(module, 'upsample', False))
    return net


def channels_last(weight: torch.Tensor, transposed: bool = False) -> torch.Tensor:
    """Return convolution weights, (out, in, k, k) or (1, out, in, k, k), in channels-last memory format.

    With `transposed` they are laid out for a transposed convolution, which takes them as (in, out, k, k); the shape stays.
    """
    if weight.ndim == 5:
        return channels_last(weight[0], transposed)[None]
    if transposed:
        return channels_last(weight.transpose(0, 1)).transpose(0, 1)
    return weight.contiguous(memory_format=torch.channels_last)

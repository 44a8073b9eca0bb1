"""The memory layout of weights with which inference is fastest."""

from typing import TypeVar

import torch
from torch import nn

Network = TypeVar('Network', bound=nn.Module)


def prepare_for_inference(net: Network, device: torch.device) -> Network:
    """Move `net` to `device` and into evaluation mode, and return it; on a CPU its convolutions then take their weights without a copy."""
    net = net.to(device).eval()
    if device.type == 'cpu':
        for module in net.modules():
            for parameter in module.parameters(recurse=False):
                if parameter.ndim >= 4:
                    parameter.data = channels_last(parameter.data, getattr(module, 'upsample', False))
    return net


def channels_last(weight: torch.Tensor, transposed: bool = False) -> torch.Tensor:
    """Return weights (..., out, in, k, k) in channels-last memory format; transposed convolutions take (in, out, k, k)."""
    if weight.ndim == 5:
        return channels_last(weight[0], transposed)[None]
    if transposed:
        return channels_last(weight.transpose(0, 1)).transpose(0, 1)
    return weight.contiguous(memory_format=torch.channels_last)

"""The tiny form of FREx, from the option file that users train it with."""

from typing import Any

import torch

from frex.options import CHECKOUT, Options, arguments_of, load_options
from frex_arch import FREx

TINY_OPTIONS = CHECKOUT / 'options' / 'train_frex_tiny.yml'
TINY_STAGE_A = CHECKOUT / 'options' / 'train_frex_3d_tiny.yml'


def tiny_network_options(**changes: Any) -> Options:
    """Arguments of the tiny network, with `changes`."""
    return arguments_of(load_options(TINY_OPTIONS)['network_g'] | changes)


def tiny_frex(seed: int = 0, **changes: Any) -> FREx:
    """A tiny network with random weights."""
    torch.manual_seed(seed)
    return FREx(**tiny_network_options(**changes))


def trained(net: FREx, seed: int = 1) -> FREx:
    """`net` with its zero-initialised parts moved, as training does: without that the fusion would pass everything through."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            # A camera that is moved as far would look past the head.
            scale = 0.002 if 'to_camera' in name else 0.05 * parameter.requires_grad
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return net


def faces(batch: int = 2, size: int = 64, seed: int = 0) -> torch.Tensor:
    """Random inputs in [-1, 1]."""
    return torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1

"""The tiny form of FREx, from the option file that users train it with, and small forms of its 3D prior."""

from typing import Any

import torch

from frex.options import SHIPPED_FOLDER, Options, arguments_of, load_options
from frex.weights.network_file import NetworkFile
from frex_arch import EG3D, FREx

TINY_OPTIONS = SHIPPED_FOLDER / 'train_frex_tiny.yml'
TINY_STAGE_A = SHIPPED_FOLDER / 'train_frex_3d_tiny.yml'


def tiny_network_options(**changes: Any) -> Options:
    """Return the constructor arguments of the tiny network, with `changes`."""
    return arguments_of(load_options(TINY_OPTIONS)['network_g'] | changes)


def tiny_frex(seed: int = 0, **changes: Any) -> FREx:
    """Return a tiny FREx with random weights, and with `changes` of its arguments."""
    torch.manual_seed(seed)
    return FREx(**tiny_network_options(**changes))


def trained(net: FREx, seed: int = 1) -> FREx:
    """Add random numbers to all trained parameters of `net` and return it.

    Parts that start at zero then have an effect, as after training: without that the fusion would pass everything through.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            # A camera that is moved as far would look past the head.
            scale = 0.002 if 'to_camera' in name else 0.05 * parameter.requires_grad
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return net


def faces(batch: int = 2, size: int = 64, seed: int = 0) -> torch.Tensor:
    """Return random faces in [-1, 1], (batch, 3, size, size)."""
    return torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def small_eg3d(**options: Any) -> EG3D:
    """Return an EG3D of a few channels with random, frozen weights, which renders 8 x 8; `options` replace its arguments."""
    torch.manual_seed(0)
    backbone = {'z_dim': 8, 'w_dim': 16, 'plane_size': 16, 'plane_channels': 4, 'channel_base': 64, 'channel_max': 8}
    sampling = {'render_size': 8, 'depth_samples': 6, 'importance_samples': 6}
    enlarging = {'out_size': 32, 'feature_channels': 4, 'superresolution_channels': (4, 4)}
    net = EG3D(**(backbone | sampling | enlarging | options)).requires_grad_(False)
    # So that a random head is dense.
    net.decoder.net[2].bias[0] = 3
    return net


def tiny_eg3d_file(**changes: Any) -> NetworkFile:
    """Return the EG3D of the tiny network as a file holds it, with `changes` of its arguments.

    Its weights are random, but so that images show shape and few saturated colours.
    """
    options = tiny_network_options()
    arguments = {'out_size': options['out_size'], **options['eg3d'], **changes}
    torch.manual_seed(0)
    state = EG3D(**arguments).state_dict()
    for name in state:
        if '.torgb.weight' in name:
            state[name] *= 40 if name.startswith('backbone.') else 0.05
        if name == 'decoder.net.2.weight':
            state[name] *= 4
    return NetworkFile('EG3D', arguments, state)

"""A checkpoint of a tiny network with a 3D prior whose heads have a surface."""

import torch
from tiny import tiny_frex, tiny_network_options, trained

from frex.weights.network_file import save_checkpoint


def save_opaque_network(path):
    """Write the checkpoint of a tiny network whose 3D prior is opaque and not as it was at the start of training; return the path."""
    net = trained(tiny_frex()).eval()
    with torch.no_grad():
        net.eg3d.decoder.net[2].bias[0] = 30.0
    save_checkpoint(path, {'params_ema': net.state_dict()}, {'network_g': {'type': 'FREx', **tiny_network_options()}})
    return path

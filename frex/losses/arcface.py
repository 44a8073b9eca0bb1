"""The frozen ArcFace of the identity and the structure loss."""

from frex.errors import FRExError
from frex.weights.network_file import build_network, read_network
from frex.weights.places import locate
from frex_arch import ArcFace


def frozen_arcface(weights: str | None) -> ArcFace:
    """In evaluation mode; `weights` is a key of the manifest or a file, random if None, which is for tests only."""
    if weights is None:
        return ArcFace().requires_grad_(False).eval()
    path = locate(weights)
    net = build_network(read_network(path), str(path))
    if not isinstance(net, ArcFace):
        raise FRExError(f'{path}: holds the weights of {type(net).__name__}, not of ArcFace')
    return net.requires_grad_(False)

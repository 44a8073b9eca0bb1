"""The frozen ArcFace whose embedding the identity loss and whose features the structure loss compares."""

import torch
from jaxtyping import Float
from torch import Tensor

from frex.errors import FRExError
from frex.losses.frozen_network import FrozenNetwork
from frex.weights.download import obtain_file
from frex.weights.network_file import build_network, read_network
from frex_arch import ArcFace
from frex_arch.arcface import ArcFaceFeatures, to_arcface_input


def frozen_arcface(weights: str | None) -> ArcFace:
    """Return ArcFace in evaluation mode, without gradients of its parameters.

    `weights` is a key of the manifest, whose file is downloaded first where it is missing, or a file (see `obtain_file`). None gives random
    weights, for tests only. Raises FRExError where the file cannot be obtained, is damaged, or is of another network.
    """
    if weights is None:
        return ArcFace().requires_grad_(False).eval()
    path = obtain_file(weights)
    net = build_network(read_network(path), str(path))
    if not isinstance(net, ArcFace):
        raise FRExError(f'{path}: holds the weights of {type(net).__name__}, not of ArcFace')
    return net.requires_grad_(False)


class FrozenArcFace(FrozenNetwork):
    """Computes ArcFace's features and embedding of RGB faces of any size; `weights` is as in `frozen_arcface`."""

    def __init__(self, weights: str | None) -> None:
        super().__init__(('ArcFace', weights))
        self.arcface = frozen_arcface(weights)
        self.eval()

    def compute(
        self, image: Float[Tensor, 'batch 3 height width'], gt: Float[Tensor, 'batch 3 height width']
    ) -> tuple[ArcFaceFeatures, ArcFaceFeatures]:
        """Return the features of `image` and those of `gt`, both RGB in [-1, 1]."""
        # Both in one pass: at 128 x 128 the kernel launches of a second pass cost a GPU more than the unused gradient of `gt`.
        both = self.arcface.features(torch.cat([to_arcface_input(image), to_arcface_input(gt)]))
        before, after = (list(zip(*(stage.chunk(2) for stage in stages), strict=True)) for stages in (both[0], both[1]))
        first, second = map(ArcFaceFeatures, before, after, both.embedding.chunk(2))
        return first, second

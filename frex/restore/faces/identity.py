"""Whether two images show one person, with ArcFace. Its file is read safely, and never fetched."""

from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from frex.errors import FRExError
from frex.weights.locate import require_file
from frex.weights.network_file import build_network, read_network
from frex_arch import ArcFace
from frex_arch.arcface import arcface_input

KEY = 'arcface_resnet18'


class Identity:
    """An ArcFace on a device."""

    def __init__(self, net: ArcFace, device: torch.device | str = 'cpu') -> None:
        self.net = net.to(device).eval()

    @classmethod
    def from_weights(cls, weights: Path | None = None, device: torch.device | str = 'cpu') -> 'Identity':
        """Raises FRExError, with the command that mends it, where the file is missing or damaged."""
        path = require_file(KEY, weights)
        net = build_network(read_network(path), str(path))
        if not isinstance(net, ArcFace):
            raise FRExError(f'{path}: holds the weights of {type(net).__name__}, not of ArcFace')
        return cls(net, device)

    @torch.inference_mode()
    def similarity(
        self, first: Float[Tensor, 'batch 3 height width'], second: Float[Tensor, 'batch 3 height width']
    ) -> Float[Tensor, ' batch']:
        """Cosine of the embeddings of aligned faces, RGB in [-1, 1]: 1 for the same image, about 0 for two persons."""
        return F.cosine_similarity(self.net(arcface_input(first.float())), self.net(arcface_input(second.float().clamp(-1, 1))))

"""Style: not in the paper, but in the authors' training."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from frex.losses.vgg import LAYER_WEIGHTS, VGGFeatures, weighted_l1


def gram(feature: Float[Tensor, 'batch channel height width']) -> Float[Tensor, 'batch channel channel']:
    """Correlations of channels, divided by the number of values."""
    flat = feature.flatten(2)
    return torch.einsum('bcp,bdp->bcd', flat, flat) / flat[0].numel()


class StyleLoss(nn.Module):
    """Weighted L1 of the Gram matrices of VGG19's features before their activations (Gatys et al. 2016)."""

    def __init__(self, loss_weight: float = 1.0, layer_weights: Mapping[str, float] | None = None, weights: str | None = 'vgg19') -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.layer_weights = layer_weights or LAYER_WEIGHTS
        self.vgg = VGGFeatures(list(self.layer_weights), weights)

    def forward(self, image: Float[Tensor, 'batch 3 height width'], gt: Float[Tensor, 'batch 3 height width']) -> Float[Tensor, '']:
        """Images are RGB in [-1, 1]."""
        styles, targets = ({name: gram(value) for name, value in self.vgg(x).items()} for x in (image, gt.detach()))
        return self.loss_weight * weighted_l1(styles, targets, self.layer_weights)

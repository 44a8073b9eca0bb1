"""The style loss, which is not in the paper but in the authors' code."""

import torch
from jaxtyping import Float
from torch import Tensor

from frex.losses.vgg import VGGLoss


def gram_matrix(feature: Float[Tensor, 'batch channel height width']) -> Float[Tensor, 'batch channel channel']:
    """Return the Gram matrix of each sample's channels, divided by channels x height x width."""
    flat = feature.flatten(2)
    return torch.einsum('bcp,bdp->bcd', flat, flat) / flat[0].numel()


class StyleLoss(VGGLoss):
    """Weighted sum over layers of the L1 distance of the Gram matrices of VGG19's features before their ReLU (Gatys et al. 2016).

    Arguments and errors are those of `VGGLoss`.
    """

    def compute_statistic(self, feature: Float[Tensor, 'batch channel height width']) -> Float[Tensor, 'batch channel channel']:
        return gram_matrix(feature)

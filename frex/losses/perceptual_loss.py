"""The perceptual term of Eqs. 10 and 14."""

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor, nn

from frex.losses.vgg import LAYER_WEIGHTS, VGGFeatures, weighted_l1


class VGGPerceptualLoss(nn.Module):
    """Weighted L1 of VGG19's features before their activations. `weights` is a key of the manifest or a file."""

    def __init__(self, loss_weight: float = 1.0, layer_weights: Mapping[str, float] | None = None, weights: str | None = 'vgg19') -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.layer_weights = layer_weights or LAYER_WEIGHTS
        self.vgg = VGGFeatures(list(self.layer_weights), weights)

    def forward(self, image: Float[Tensor, 'batch 3 height width'], gt: Float[Tensor, 'batch 3 height width']) -> Float[Tensor, '']:
        """Images are RGB in [-1, 1]."""
        return self.loss_weight * weighted_l1(self.vgg(image), self.vgg(gt.detach()), self.layer_weights)

"""The facial structure loss, Eq. 17."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from frex.losses.frozen_arcface import FrozenArcFace
from frex.losses.frozen_network import mean_difference
from frex_arch.arcface import ArcFaceFeatures


class StructureLoss(nn.Module):
    """Weighted sum of the L1 distances of the features of ArcFace's four stages.

    `layer_weights` are the loss weights of the stages, shallow to deep. Features are taken before the last activation of a stage (the
    paper) or, without `before_activation`, after it (the authors' code). `weights` and errors are as in `frozen_arcface`.
    """

    def __init__(
        self,
        loss_weight: float = 1.0,
        layer_weights: Sequence[float] = (0.1, 0.1, 1.0, 1.0),
        before_activation: bool = True,
        weights: str | None = 'arcface_resnet18',
    ) -> None:
        super().__init__()
        if len(layer_weights) != 4:
            raise ValueError(f'layer_weights are four numbers, not {list(layer_weights)}')
        self.loss_weight = loss_weight
        self.layer_weights = layer_weights
        self.before_activation = before_activation
        self.network = FrozenArcFace(weights)

    def forward(self, image: Float[Tensor, 'batch 3 height width'], gt: Float[Tensor, 'batch 3 height width']) -> Float[Tensor, '']:
        """Return the sum over stages for RGB images in [-1, 1], times `loss_weight`; the gradient flows to `image` alone."""
        features, targets = map(self._stages, self.network(image, gt))
        stages = zip(self.layer_weights, features, targets, strict=True)
        terms = [weight * mean_difference(feature, target) for weight, feature, target in stages]
        return self.loss_weight * torch.stack(terms).sum()

    def _stages(self, features: ArcFaceFeatures) -> Sequence[Tensor]:
        return features.before_activation if self.before_activation else features.after_activation

"""The identity term: the distance of ArcFace embeddings, 1 - cosine in Eq. 10 and the mean absolute difference in Eq. 14."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from frex.losses.frozen_arcface import FrozenArcFace


class IdentityLoss(nn.Module):
    """Distance of ArcFace embeddings: their mean absolute difference (`distance` 'l1', stage B), or 1 - cosine ('cosine', stage A).

    `weights` and errors are as in `frozen_arcface`; another `distance` raises ValueError.
    """

    def __init__(self, loss_weight: float = 1.0, distance: str = 'l1', weights: str | None = 'arcface_resnet18') -> None:
        super().__init__()
        if distance not in ('l1', 'cosine'):
            raise ValueError(f"distance is 'l1' or 'cosine', not {distance!r}")
        self.loss_weight = loss_weight
        self.distance = distance
        self.network = FrozenArcFace(weights)

    def forward(self, image: Float[Tensor, 'batch 3 height width'], gt: Float[Tensor, 'batch 3 height width']) -> Float[Tensor, '']:
        """Return the mean over the batch of RGB images in [-1, 1], times `loss_weight`; the gradient flows to `image` alone."""
        embedding, target = (features.embedding for features in self.network(image, gt))
        if self.distance == 'l1':
            return self.loss_weight * F.l1_loss(embedding, target)
        return self.loss_weight * (1 - F.cosine_similarity(embedding, target)).mean()

"""The penalty that keeps the latent offsets Z_bar small, which is not in the paper but e4e's (Tov et al. 2021)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class OffsetNormLoss(nn.Module):
    """Mean over the batch of the sum of the offsets' Euclidean norms."""

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, offsets: Float[Tensor, 'batch num_ws w']) -> Float[Tensor, '']:
        return self.loss_weight * torch.linalg.vector_norm(offsets, dim=2).sum(dim=1).mean()

"""The penalty on large latent offsets Z_bar, which is not in the paper but from e4e (Tov et al. 2021)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class OffsetNormLoss(nn.Module):
    """Sum over latent codes of the offsets' Euclidean norms, mean over the batch, times `loss_weight`."""

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, offsets: Float[Tensor, 'batch num_ws w']) -> Float[Tensor, '']:
        return self.loss_weight * torch.linalg.vector_norm(offsets, dim=2).sum(dim=1).mean()

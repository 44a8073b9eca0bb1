"""The losses of the 3D encoder: the camera term of Eqs. 10 and 14, and the penalty on large latent offsets Z_bar.

The penalty is not in the paper but from e4e (Tov et al. 2021).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from frex_arch.camera import Camera


class CameraLoss(nn.Module):
    """Mean absolute difference between the 25 numbers of the predicted and the labelled camera."""

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, camera: Camera, target: Camera, is_labelled: Bool[Tensor, ' batch'] | None = None) -> Float[Tensor, '']:
        """Return the mean over the labelled samples of the batch, times `loss_weight`.

        `is_labelled` says which samples have a label; None means all. Where none has one, the loss and its gradient are 0.
        """
        if is_labelled is None:
            return self.loss_weight * F.l1_loss(camera, target)
        error = (camera - target).abs().mean(dim=1)
        return self.loss_weight * (error * is_labelled).sum() / is_labelled.sum().clamp(min=1)


class OffsetNormLoss(nn.Module):
    """Sum over latent codes of the offsets' Euclidean norms, mean over the batch, times `loss_weight`."""

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, offsets: Float[Tensor, 'batch num_ws w']) -> Float[Tensor, '']:
        return self.loss_weight * torch.linalg.vector_norm(offsets, dim=2).sum(dim=1).mean()

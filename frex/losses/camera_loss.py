"""The camera term of Eqs. 10 and 14."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from frex_arch.camera import Camera


class CameraLoss(nn.Module):
    """Mean absolute difference of the 25 numbers of predicted and true camera."""

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, camera: Camera, target: Camera) -> Float[Tensor, '']:
        return self.loss_weight * F.l1_loss(camera, target)

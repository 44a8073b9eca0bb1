"""The L1 distance of the decoder's images I_3D^i of all sizes, which is not in the paper but in the authors' code."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


def image_pyramid(image: Float[Tensor, 'batch 3 height width'], sizes: Sequence[int]) -> list[Float[Tensor, 'batch 3 _ _']]:
    """Return square images averaged down to each of `sizes`, in this order.

    Every size must divide that of `image`, which is not checked.
    """
    return [F.avg_pool2d(image, image.shape[-1] // size) for size in sizes]


class PyramidLoss(nn.Module):
    """Sum over the images of the mean absolute difference to `gt`, averaged down to the image's size, times `loss_weight`.

    The images are the decoder's, of any sizes that divide that of `gt`. All are RGB in [-1, 1].
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, images_3d: Sequence[Float[Tensor, 'batch 3 _ _']], gt: Float[Tensor, 'batch 3 height width']) -> Float[Tensor, '']:
        targets = image_pyramid(gt, [image.shape[-1] for image in images_3d])
        terms = [F.l1_loss(image, target) for image, target in zip(images_3d, targets, strict=True)]
        return self.loss_weight * torch.stack(terms).sum()

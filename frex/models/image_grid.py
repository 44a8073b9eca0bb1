"""The grid of images in which training is watched."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from frex_arch import FREx3DOutput, FRExOutput

# Pixels of a cell, at most.
CELL = 256


def picture_grid(
    lq: Float[Tensor, 'batch 3 size size'], output: FRExOutput | FREx3DOutput, gt: Float[Tensor, 'batch 3 size size']
) -> Float[Tensor, '3 height width']:
    """A row for each face, in [0, 1]: lq, the 3D prior's image, the decoder's, coarse to fine, the result, gt, maps.

    The maps are the AWBs' alphas, coarse to fine, middle grey where alpha is 1, black at 0 and white at 2; of FREx3D the depth,
    near is dark.
    """
    pictures = [lq, output.image_3d]
    maps: list[Tensor | None] = []
    if isinstance(output, FRExOutput):
        pictures += [*output.images_3d, output.image]
        maps += [alpha - 1 for alpha in output.alphas or ()]
    else:
        maps.append(_stretched(output.depth))
    columns = [*pictures, gt, *maps]
    cell = min(CELL, lq.shape[-1])
    cells = [_resized(column, cell) for column in columns if column is not None]
    return ((torch.cat([torch.cat(list(faces), dim=1) for faces in cells], dim=2).clamp(-1, 1) + 1) / 2).cpu()


def _resized(images: Float[Tensor, 'batch channel _ _'], size: int) -> Float[Tensor, 'batch 3 {size} {size}']:
    """Grown in squares, so that a pixel is seen as one."""
    images = images.detach().float().expand(-1, 3, -1, -1)
    shrinks = images.shape[-1] > size
    return F.interpolate(images, (size, size), mode='area' if shrinks else 'nearest')


def _stretched(depth: Float[Tensor, 'batch 1 size size']) -> Float[Tensor, 'batch 1 size size']:
    """To [-1, 1]."""
    low, high = depth.amin(), depth.amax()
    return (depth - low) / (high - low).clamp(min=1e-6) * 2 - 1

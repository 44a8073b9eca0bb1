"""The grid of images that validation during training writes to a file and to TensorBoard, with a row for each face."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from frex_arch import FREx3DOutput, FRExOutput

# Pixels of a cell, at most.
CELL = 256


def image_grid(
    lq: Float[Tensor, 'batch 3 size size'], output: FRExOutput | FREx3DOutput, gt: Float[Tensor, 'batch 3 size size']
) -> Float[Tensor, '3 height width']:
    """Return a grid, in [0, 1], with a row for each face: lq, the 3D prior's image, the decoder's images, the result, gt, and maps.

    The decoder's images and the maps of FREx, its AWBs' alphas, are ordered coarse to fine; alpha 0 is black, 1 middle grey, 2 white.
    FREx3D has no decoder and no further result; its map is the depth: near is dark. What `output` lacks is left out.
    """
    images = [lq, output.image_3d]
    maps: list[Tensor | None] = []
    if isinstance(output, FRExOutput):
        images += [*output.images_3d, output.image]
        maps += [alpha - 1 for alpha in output.alphas or ()]
    else:
        maps.append(_stretched(output.depth))
    columns = [*images, gt, *maps]
    cell = min(CELL, lq.shape[-1])
    cells = [_resized(column, cell) for column in columns if column is not None]
    return ((torch.cat([torch.cat(list(faces), dim=1) for faces in cells], dim=2).clamp(-1, 1) + 1) / 2).cpu()


def _resized(images: Float[Tensor, 'batch channel _ _'], size: int) -> Float[Tensor, 'batch 3 {size} {size}']:
    """Resize to `size`: to a smaller one by area averaging, to a larger one by nearest neighbour, so that single pixels can be seen."""
    images = images.detach().float().expand(-1, 3, -1, -1)
    shrinks = images.shape[-1] > size
    return F.interpolate(images, (size, size), mode='area' if shrinks else 'nearest')


def _stretched(depth: Float[Tensor, 'batch 1 size size']) -> Float[Tensor, 'batch 1 size size']:
    """Map the depths of the whole batch linearly to [-1, 1]: the nearest becomes -1, the farthest 1. Equal depths all become -1."""
    low, high = depth.amin(), depth.amax()
    return (depth - low) / (high - low).clamp(min=1e-6) * 2 - 1

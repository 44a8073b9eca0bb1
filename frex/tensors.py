"""Convert between images, BGR uint8, and the tensors of networks, RGB in [-1, 1]."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from frex.images import Image


def to_tensor(image: Image) -> Float[Tensor, '3 height width']:
    """Convert a BGR uint8 image to a float32 tensor, RGB in [-1, 1], on the CPU."""
    return torch.from_numpy(np.ascontiguousarray(image[:, :, ::-1].transpose(2, 0, 1))).float() / 127.5 - 1


def to_images(batch: Float[Tensor, 'batch 3 height width']) -> UInt8[np.ndarray, 'batch height width 3']:
    """Convert a batch of RGB tensors, of any float type and device, to BGR uint8 images; values are clamped to [-1, 1] and rounded."""
    scaled = ((batch.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return np.ascontiguousarray(scaled.permute(0, 2, 3, 1).cpu().numpy()[..., ::-1])

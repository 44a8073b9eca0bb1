"""The map between the FFHQ alignment and EG3D's crop of the same face: x_e = s x_f + t_x, y_e = s y_f + t_y.

A crop is (s, t_x, t_y), shifts in image widths. The two frames differ by scale and shift only.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

# Frontal faces: official fit and least squares agree to two pixels of 512.
MEAN_CROP = (1.083, -22 / 512, -66 / 512)

Crop = Float[Tensor, 'batch 3']


def mean_crop(like: Float[Tensor, 'batch ...']) -> Crop:
    """Return the crop of a frontal face for each sample of `like`."""
    return torch.cat([like.new_full((like.shape[0], 1), number) for number in MEAN_CROP], dim=1)


def mirror_crop(crop: Crop) -> Crop:
    """Return the crop between the two images mirrored left to right."""
    scale, x, y = crop.unbind(dim=1)
    return torch.stack([scale, 1 - scale - x, y], dim=1)


def pixel_centres(size: int, like: Tensor) -> Float[Tensor, ' size']:
    """Return the pixel centres of a side of `size` pixels, in image widths."""
    return (torch.arange(size, device=like.device, dtype=like.dtype) + 0.5) / size


def mask_in_ffhq_frame(crop: Crop, size: int) -> Float[Tensor, 'batch 1 size size']:
    """Return 1 where a pixel of the FFHQ frame lies inside EG3D's crop, else 0."""
    position = crop[:, :1, None] * pixel_centres(size, crop) + crop[:, 1:, None]
    inside = ((position >= 0) & (position <= 1)).to(crop.dtype)
    return (inside[:, 1, :, None] * inside[:, 0, None, :])[:, None]


def mask_in_eg3d_crop(crop: Crop, size: int) -> Float[Tensor, 'batch 1 size size']:
    """Return 1 where a pixel of EG3D's crop lies inside the FFHQ frame, else 0."""
    scale, shift = crop[:, :1], crop[:, 1:]
    return mask_in_ffhq_frame(torch.cat([1 / scale, -shift / scale], dim=1), size)


def warp_to_crop(image: Float[Tensor, 'batch 3 height width'], crop: Crop, size: int) -> Float[Tensor, 'batch 3 size size']:
    """Resample the FFHQ-aligned `image` in EG3D's crop; where that reaches beyond the image, edge pixels are repeated."""
    # Twice the size, then the mean of 2 x 2: at 512 to 256 each pixel is shrunk by less than 2.
    position = (pixel_centres(2 * size, crop) - crop[:, 1:, None]) / crop[:, :1, None]
    x = position[:, 0, None, :].expand(-1, 2 * size, -1)
    y = position[:, 1, :, None].expand(-1, -1, 2 * size)
    grid = 2 * torch.stack([x, y], dim=-1) - 1
    warped = F.grid_sample(image, grid.to(image.dtype), mode='bilinear', padding_mode='border', align_corners=False)
    return F.avg_pool2d(warped, 2)

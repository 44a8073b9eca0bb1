"""The map from the frame of FFHQ's alignment to EG3D's crop of the same face: x_e = s x_f + t_x, y_e = s y_f + t_y.

A crop is (s, t_x, t_y), and a `Crop` is a tensor with one such row for each face. Coordinates are in widths of the respective image, from
its upper left corner, x right and y down. The two frames differ by scale and shift only. Both images are square.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

# The crop of frontal faces. EG3D's own fit and a least-squares fit to FFHQ agree to two pixels of 512.
MEAN_CROP = (1.083, -22 / 512, -66 / 512)

Crop = Float[Tensor, 'batch 3']


def mean_crop(like: Float[Tensor, 'batch ...']) -> Crop:
    """Return `MEAN_CROP` once for each sample of `like`, on its device and in its dtype."""
    return torch.cat([like.new_full((like.shape[0], 1), number) for number in MEAN_CROP], dim=1)


def mirror_crop(crop: Crop) -> Crop:
    """Return the crops (batch, 3) that map the mirrored FFHQ-aligned images to the mirrored EG3D crops; left and right are swapped."""
    scale, x, y = crop.unbind(dim=1)
    return torch.stack([scale, 1 - scale - x, y], dim=1)


def pixel_centres(size: int, like: Tensor) -> Float[Tensor, ' size']:
    """Return the coordinates of pixel centres along an image side of `size` pixels, in image widths, with device and dtype of `like`."""
    return (torch.arange(size, device=like.device, dtype=like.dtype) + 0.5) / size


def mask_in_ffhq_frame(crop: Crop, size: int) -> Float[Tensor, 'batch 1 size size']:
    """Return a mask of the FFHQ-aligned image, `size` pixels wide: 1 for pixels inside EG3D's crop, else 0."""
    position = crop[:, :1, None] * pixel_centres(size, crop) + crop[:, 1:, None]
    inside = ((position >= 0) & (position <= 1)).to(crop.dtype)
    return (inside[:, 1, :, None] * inside[:, 0, None, :])[:, None]


def mask_in_eg3d_crop(crop: Crop, size: int) -> Float[Tensor, 'batch 1 size size']:
    """Return a mask of EG3D's crop, `size` pixels wide: 1 for pixels inside the FFHQ-aligned image, else 0."""
    scale, shift = crop[:, :1], crop[:, 1:]
    return mask_in_ffhq_frame(torch.cat([1 / scale, -shift / scale], dim=1), size)


def warp_to_crop(image: Float[Tensor, 'batch 3 height width'], crop: Crop, size: int) -> Float[Tensor, 'batch 3 size size']:
    """Resample the FFHQ-aligned `image` to EG3D's crop, `size` pixels wide; pixels of the crop outside the image repeat its edge."""
    # Antialiasing: sampled bilinearly at twice the size, then averaged over 2 x 2. From 512 to 256 the first step shrinks by less than 2.
    position = (pixel_centres(2 * size, crop) - crop[:, 1:, None]) / crop[:, :1, None]
    x = position[:, 0, None, :].expand(-1, 2 * size, -1)
    y = position[:, 1, :, None].expand(-1, -1, 2 * size)
    grid = 2 * torch.stack([x, y], dim=-1) - 1
    warped = F.grid_sample(image, grid.to(image.dtype), mode='bilinear', padding_mode='border', align_corners=False)
    return F.avg_pool2d(warped, 2)

"""PSNR, SSIM (Wang et al. 2004) and NIQE (Mittal et al. 2013) of batches of images, on values from 0 to 255, without cropping."""

import warnings

import cv2
import numpy as np
import torch
from basicsr.metrics.niqe import calculate_niqe
from jaxtyping import Float
from torch import Tensor

from frex.metrics.metric import Faces, Scores, require_gt
from frex.tensors import to_images

# The constants of SSIM, and the width of its Gaussian window in pixels.
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
WINDOW = 11
# NIQE compares blocks of this side, of which it needs two at least.
NIQE_BLOCK = 96
# The weights along one axis of SSIM's window, whose standard deviation is 1.5 pixels.
LINE = cv2.getGaussianKernel(WINDOW, 1.5).ravel().tolist()


def psnr(restored: Faces, gt: Faces | None) -> Scores:
    """Return PSNR, 10 log10(255^2 / MSE) in dB, of each pair, over all pixels and RGB channels; inf for identical images."""
    mse = (_values(restored) - _values(require_gt(gt))).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(255**2 / mse)


def ssim(restored: Faces, gt: Faces | None) -> Scores:
    """Return SSIM of each pair, averaged over RGB channels and over all positions where the 11 x 11 window lies within the image.

    It is NaN for images smaller than the window.
    """
    x, y = _values(restored), _values(require_gt(gt))
    if min(x.shape[2:]) < WINDOW:
        return x.new_full((len(x),), torch.nan)
    mean_x, mean_y = _blurred(x), _blurred(y)
    variance_x, variance_y = _blurred(x * x) - mean_x**2, _blurred(y * y) - mean_y**2
    covariance = _blurred(x * y) - mean_x * mean_y
    similarity = (2 * mean_x * mean_y + C1) * (2 * covariance + C2)
    return (similarity / ((mean_x**2 + mean_y**2 + C1) * (variance_x + variance_y + C2))).mean(dim=(1, 2, 3))


def niqe(restored: Faces, gt: Faces | None) -> Scores:
    """Return BasicSR's NIQE of each restored image, on the Y channel in blocks of 96 x 96 pixels; `gt` is ignored.

    It is NaN for an image with fewer than two whole blocks, and for one without texture.
    """
    return torch.tensor([_niqe(image) for image in to_images(restored)], dtype=torch.float64, device=restored.device)


def _niqe(image: np.ndarray) -> float:
    """Return the NIQE of one BGR uint8 image."""
    height, width, _ = image.shape
    if (height // NIQE_BLOCK) * (width // NIQE_BLOCK) < 2:
        return float('nan')
    with warnings.catch_warnings(), np.errstate(all='ignore'):
        # In a flat block numpy takes the mean of nothing, and warns.
        warnings.simplefilter('ignore', RuntimeWarning)
        try:
            return float(calculate_niqe(image, crop_border=0))
        except np.linalg.LinAlgError:
            return float('nan')


def _values(faces: Faces) -> Float[Tensor, 'batch 3 height width']:
    """Return images in [-1, 1] as float64 values from 0 to 255, clamped and rounded as in a file."""
    return ((faces.double().clamp(-1, 1) + 1) * 127.5).round()


def _blurred(x: Float[Tensor, 'batch 3 height width']) -> Float[Tensor, 'batch 3 inner_height inner_width']:
    """Filter with SSIM's Gaussian window where it lies within the image, so that each side shrinks by 10 pixels.

    In float64 these weighted sums of shifted images take a tenth of the time of torch's convolution.
    """
    for axis in (2, 3):
        shifted = [x.narrow(axis, offset, x.shape[axis] - WINDOW + 1) for offset in range(WINDOW)]
        x = torch.zeros_like(shifted[0])
        for weight, part in zip(LINE, shifted, strict=True):
            x.add_(part, alpha=weight)
    return x

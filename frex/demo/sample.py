"""A restored portrait of the demo and its metrics."""

from typing import NamedTuple

import torch

from frex.images import Image
from frex.metrics.pixelwise import psnr, ssim
from frex.tensors import to_tensor
from frex_arch import FRExOutput


class Sample(NamedTuple):
    """One degradation of one portrait: input, restored and true image, BGR, and PSNR and SSIM of the first two against the third.

    `output` is the network's output, where the images show the aligned face only.
    """

    row: str
    images: tuple[Image, Image, Image]
    psnr: tuple[float, float]
    ssim: tuple[float, float]
    output: FRExOutput | None = None


def measure(row: str, images: tuple[Image, Image, Image]) -> Sample:
    """Return a sample with PSNR and SSIM of input and restored image against the true one."""
    first, restored, truth = (to_tensor(image)[None] for image in images)
    pairs = (torch.cat([first, restored]), torch.cat([truth, truth]))
    before, after = psnr(*pairs).tolist()
    likeness_before, likeness_after = ssim(*pairs).tolist()
    return Sample(row, images, (before, after), (likeness_before, likeness_after))

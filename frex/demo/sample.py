"""A restored portrait, and how near it is to the truth."""

from typing import NamedTuple

import torch

from frex.images import Image
from frex.metrics.pixelwise import psnr, ssim
from frex.tensors import to_tensor
from frex_arch import FRExOutput


class Sample(NamedTuple):
    """One degradation of one portrait: input, restored and true, BGR, with PSNR and SSIM of the first two against the third.

    `output` is the network's, where the image is the face alone.
    """

    row: str
    images: tuple[Image, Image, Image]
    psnr: tuple[float, float]
    ssim: tuple[float, float]
    output: FRExOutput | None = None


def measure(row: str, images: tuple[Image, Image, Image]) -> Sample:
    """Compare input and restored with the truth."""
    first, restored, truth = (to_tensor(image)[None] for image in images)
    pairs = (torch.cat([first, restored]), torch.cat([truth, truth]))
    before, after = psnr(*pairs).tolist()
    likeness_before, likeness_after = ssim(*pairs).tolist()
    return Sample(row, images, (before, after), (likeness_before, likeness_after))

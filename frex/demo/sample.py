"""A restored portrait of the demo, and its metrics."""

from typing import NamedTuple

import torch

from frex.images import Image
from frex.metrics.pixelwise import psnr, ssim
from frex.tensors import to_tensor
from frex_arch import FRExOutput


class RestoredPortrait(NamedTuple):
    """One degradation of one portrait: `images` are input, restored image and truth, BGR uint8; `row` is the title in the table.

    `psnr` (dB) and `ssim` are those of input and of restored image against the truth. `output` is the network's output, None where a whole
    photograph was restored.
    """

    row: str
    images: tuple[Image, Image, Image]
    psnr: tuple[float, float]
    ssim: tuple[float, float]
    output: FRExOutput | None = None


def measure_portrait(row: str, images: tuple[Image, Image, Image]) -> RestoredPortrait:
    """Return a restored portrait with PSNR and SSIM of input and restored image against the truth."""
    first, restored, truth = (to_tensor(image)[None] for image in images)
    pairs = (torch.cat([first, restored]), torch.cat([truth, truth]))
    before, after = psnr(*pairs).tolist()
    likeness_before, likeness_after = ssim(*pairs).tolist()
    return RestoredPortrait(row, images, (before, after), (likeness_before, likeness_after))

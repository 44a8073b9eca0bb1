"""The portraits of the demo, which scikit-image and matplotlib ship, as photographs and as restored ones with their metrics.

Both are in the public domain: by NASA and by the US Navy.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from frex.images import Image, read_image
from frex.metrics.pixelwise import psnr, ssim
from frex.restore.detection.align import Points
from frex.tensors import to_tensor
from frex.utils.extras import require_package
from frex_arch import FRExOutput

# Pixel coordinates (x, y) of eyes, nose and corners of the mouth, left before right in the image, as RetinaFace finds them.
ASTRONAUT_LANDMARKS = [(203.6, 101.1), (247.5, 104.5), (223.3, 129.3), (200.9, 138.4), (245.6, 141.2)]
HOPPER_LANDMARKS = [(225.8, 188.2), (306.4, 187.4), (267.5, 246.0), (233.4, 271.5), (301.3, 270.5)]


class Portrait(NamedTuple):
    """A photograph, BGR uint8, and the five landmarks of its face in pixels."""

    name: str
    image: Image
    landmarks: Points


def read_portraits() -> list[Portrait]:
    """Return the portraits of Eileen Collins and Grace Hopper; raise FRExError where a package that ships one is missing."""
    for package in ('matplotlib', 'skimage'):
        require_package(package, 'the demo')
    from matplotlib.cbook import get_sample_data
    from skimage.data import astronaut

    hopper = read_image(Path(get_sample_data('grace_hopper.jpg', asfileobj=False)))
    collins = np.ascontiguousarray(astronaut()[:, :, ::-1])
    return [
        Portrait('eileen_collins', collins, np.array(ASTRONAUT_LANDMARKS)),
        Portrait('grace_hopper', hopper, np.array(HOPPER_LANDMARKS)),
    ]


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
    """Return a restored portrait with PSNR and SSIM of input and restored image against the truth; `images` are these three, BGR."""
    first, restored, truth = (to_tensor(image)[None] for image in images)
    pairs = (torch.cat([first, restored]), torch.cat([truth, truth]))
    before, after = psnr(*pairs).tolist()
    likeness_before, likeness_after = ssim(*pairs).tolist()
    return RestoredPortrait(row, images, (before, after), (likeness_before, likeness_after))

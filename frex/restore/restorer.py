"""Restoring faces from Python: `FaceRestorer.from_pretrained(path).restore_aligned(image)`."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from frex.errors import FRExError
from frex.images import Image, resize
from frex.tensors import to_images, to_tensor
from frex.weights.network_file import build_frex, read_network
from frex_arch import FREx


def choose_device(name: str) -> torch.device:
    """`auto`, or a torch device; raises FRExError for one that is not there."""
    if name == 'auto':
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise FRExError(f'--device {name}: not usable here ({str(error).splitlines()[0]})') from None
    return device


class FaceRestorer:
    """A FREx network on a device. Holds no state between calls."""

    def __init__(self, net: FREx, device: torch.device | str = 'cpu') -> None:
        self.device = torch.device(device)
        self.net = net.to(self.device).eval()
        self.size = net.out_size

    @classmethod
    def from_pretrained(cls, path: str | Path, device: str = 'auto', param_key: str = 'params_ema') -> 'FaceRestorer':
        """Read a FREx checkpoint (`.pth`, `.safetensors`); raises FRExError where it is none, is damaged, or does not fit."""
        return cls(build_frex(read_network(Path(path), param_key), str(path)), choose_device(device))

    @torch.inference_mode()
    def restore_aligned(self, image: Image) -> UInt8[np.ndarray, 'size size 3']:
        """Restore one face in FFHQ alignment, BGR, square, of any size; it comes back at the network's.

        Raises FRExError where the picture is not square, so no aligned face, and where the network's output is not
        finite, so that no failure passes for a picture.
        """
        if image.shape[0] != image.shape[1]:
            raise FRExError(f'{image.shape[1]} x {image.shape[0]} is not square: not a face in FFHQ alignment')
        lq = to_tensor(resize(image, self.size))[None].to(self.device)
        output = self.net(lq).image
        if not torch.isfinite(output).all():
            raise FRExError("the network's output is not finite")
        return to_images(output)[0]

"""Estimate the yaw of aligned faces with facexlib's Hopenet, where its weights are installed."""

from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from frex.images import Image
from frex.weights.locate import require_file
from frex.weights.state_dict import load_strict, pick
from frex.weights.torch_file import read_torch_file

KEY = 'hopenet'
INPUT_SIZE = 224
# Mean and standard deviation of ImageNet, RGB in [0, 1].
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class HeadPoseNetwork:
    """Hopenet on a device. Aligned faces have about the margins of its training images, so they are not cropped."""

    def __init__(self, net: torch.nn.Module, device: torch.device | str) -> None:
        self.net, self.device = net.eval(), torch.device(device)

    @classmethod
    def from_weights(cls, weights: Path | None = None, device: torch.device | str = 'cpu') -> 'HeadPoseNetwork':
        """Load the weights; raise FRExError, with the command that downloads them, where they are missing or damaged."""
        path = require_file(KEY, weights)
        net = build_hopenet()
        load_strict(net, pick(read_torch_file(path), 'params', str(path)), str(path))
        return cls(net.to(device), device)

    @torch.inference_mode()
    def yaw(self, image: Image) -> float:
        """Return the yaw in degrees, with the network's own sign: half the difference between image and mirror image."""
        seen = torch.stack([as_input(image), as_input(np.ascontiguousarray(image[:, ::-1]))])
        yaw, _, _ = self.net(seen.to(self.device))
        return float(yaw[0] - yaw[1]) / 2


def build_hopenet() -> torch.nn.Module:
    """Build facexlib's network, a ResNet-50 with 66 bins of 3 degrees, with random weights."""
    # Importing facexlib takes seconds.
    from facexlib.headpose.hopenet_arch import HopeNet

    return HopeNet('resnet', [3, 4, 6, 3], 66)


def as_input(image: Image) -> Float[Tensor, '3 224 224']:
    """Return an image as the network's input: RGB, 224 x 224, normalized as for ImageNet."""
    shrinks = min(image.shape[:2]) > INPUT_SIZE
    small = cv2.resize(image, (INPUT_SIZE, INPUT_SIZE), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    rgb = small[:, :, ::-1].astype(np.float32) / 255
    normalised = (rgb - np.array(MEAN, np.float32)) / np.array(DEVIATION, np.float32)
    return torch.from_numpy(np.ascontiguousarray(normalised.transpose(2, 0, 1)))

"""98 landmarks of a face, with facexlib's AWing network, and the five that FREx takes from them.

For the five a 3D head is at hand (`frex.data.landmarks`), for all 98 none is. From the 98, the middles of the corners of the
eyes are the very points that the head has, while a detector guesses them.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from frex.images import Image, resize
from frex.weights.locate import require_file
from frex.weights.state_dict import as_state, load_strict, pick
from frex.weights.torch_file import read_torch_file

KEY = 'awing_fan'
INPUT_SIZE = 256

# In WFLW's numbering.
LEFT_EYE, RIGHT_EYE = [60, 64], [68, 72]
NOSE_TIP, MOUTH_CORNERS = 54, [76, 82]


class LandmarkNetwork:
    """An AWing network on a device, for faces that fill their image as aligned ones do."""

    def __init__(self, net: torch.nn.Module, device: torch.device | str) -> None:
        self.net, self.device = net, torch.device(device)

    @classmethod
    def from_weights(cls, weights: Path | None = None, device: torch.device | str = 'cpu') -> 'LandmarkNetwork':
        """Raises FRExError, with the command that mends it, where the file is missing or damaged."""
        path = require_file(KEY, weights)
        net = build_fan(torch.device(device))
        content = read_torch_file(path)
        state = pick(content, 'state_dict', str(path)) if 'state_dict' in content else as_state(content, str(path))
        load_strict(net, state, str(path))
        return cls(net.to(device).eval(), device)

    @torch.inference_mode()
    def landmarks(self, image: Image) -> Float[np.ndarray, '98 2']:
        """In image widths of a square BGR image of one aligned face."""
        rgb = np.ascontiguousarray(resize(image, INPUT_SIZE)[:, :, ::-1].transpose(2, 0, 1))
        heatmaps, _ = self.net(torch.from_numpy(rgb)[None].float().to(self.device) / 255)
        # The last of them shows the outlines of all.
        return peaks(heatmaps[-1][0, :-1].float().cpu())


def build_fan(device: torch.device) -> torch.nn.Module:
    """facexlib's network with random weights."""
    # Importing facexlib takes seconds.
    from facexlib.alignment.awing_arch import FAN

    return FAN(num_modules=4, num_landmarks=98, device=device)


def peaks(heatmaps: Float[Tensor, 'points height width']) -> Float[np.ndarray, 'points 2']:
    """Where each map is largest, in widths, moved by a quarter of its pixel towards the larger neighbour."""
    _, height, width = heatmaps.shape
    place = heatmaps.flatten(1).argmax(dim=1)
    row, column = (place // width).tolist(), (place % width).tolist()
    points = [(x + 0.5 + _lean(one[y], x), y + 0.5 + _lean(one[:, x], y)) for one, x, y in zip(heatmaps, column, row, strict=True)]
    return np.array(points) / (width, height)


def _lean(line: Float[Tensor, ' length'], peak: int) -> float:
    if not 0 < peak < len(line) - 1:
        return 0.0
    return 0.25 * float(torch.sign(line[peak + 1] - line[peak - 1]))


def five_of(points: Float[np.ndarray, '98 2']) -> Float[np.ndarray, '5 2']:
    """Eyes, tip of the nose, corners of the mouth."""
    return np.stack([points[LEFT_EYE].mean(axis=0), points[RIGHT_EYE].mean(axis=0), points[NOSE_TIP], *points[MOUTH_CORNERS]])

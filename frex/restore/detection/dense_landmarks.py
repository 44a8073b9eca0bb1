"""Find 98 landmarks of an aligned face with facexlib's AWing network, and derive from them the five that FREx uses.

Landmarks are fractions (x, y) of the image's width and height. A camera is estimated from five landmarks, because `frex.data.landmarks` has
a 3D head with these five, but none with all 98. The middle between the two corners of an eye is exactly the point that the head has; a face
detector only approximates it.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from frex.images import Image, resize
from frex.weights.download import obtain_file
from frex.weights.state_dict import as_state, load_strict, pick_state
from frex.weights.torch_file import read_torch_file

KEY = 'awing_fan'
INPUT_SIZE = 256

# Indices of landmarks in WFLW's numbering.
LEFT_EYE, RIGHT_EYE = [60, 64], [68, 72]
NOSE_TIP, MOUTH_CORNERS = 54, [76, 82]


class LandmarkNetwork:
    """An AWing network on a device. It expects faces that fill their image, as aligned faces do."""

    def __init__(self, net: torch.nn.Module, device: torch.device | str) -> None:
        self.net, self.device = net, torch.device(device)

    @classmethod
    def from_weights(cls, weights: Path | None = None, device: torch.device | str = 'cpu') -> 'LandmarkNetwork':
        """Load the network from the folder `weights` or the default places.

        A missing or damaged file is downloaded first. Raises FRExError, which says what to do, where that is not possible or not allowed.
        """
        path = obtain_file(KEY, weights)
        net = build_fan(torch.device(device))
        content = read_torch_file(path)
        state = pick_state(content, 'state_dict', str(path)) if 'state_dict' in content else as_state(content, str(path))
        load_strict(net, state, str(path))
        return cls(net.to(device).eval(), device)

    @torch.inference_mode()
    def landmarks(self, image: Image) -> Float[np.ndarray, '98 2']:
        """Return the 98 landmarks, in WFLW's order, of one aligned face in a square BGR image, as fractions (x, y) of its width, 0 to 1."""
        rgb = np.ascontiguousarray(resize(image, INPUT_SIZE)[:, :, ::-1].transpose(2, 0, 1))
        heatmaps, _ = self.net(torch.from_numpy(rgb)[None].float().to(self.device) / 255)
        # The last heatmap shows the outlines of the face, not a landmark.
        return peaks(heatmaps[-1][0, :-1].float().cpu())


def build_fan(device: torch.device) -> torch.nn.Module:
    """Build facexlib's network with random weights."""
    # Importing facexlib takes seconds.
    from facexlib.alignment.awing_arch import FAN

    return FAN(num_modules=4, num_landmarks=98, device=device)


def peaks(heatmaps: Float[Tensor, 'points height width']) -> Float[np.ndarray, 'points 2']:
    """Return the maximum of each heatmap as (x, y) in fractions of its width and height.

    Each is moved by a quarter of a heatmap pixel towards the larger neighbour.
    """
    _, height, width = heatmaps.shape
    place = heatmaps.flatten(1).argmax(dim=1)
    row, column = (place // width).tolist(), (place % width).tolist()
    points = [(x + 0.5 + _offset(one[y], x), y + 0.5 + _offset(one[:, x], y)) for one, x, y in zip(heatmaps, column, row, strict=True)]
    return np.array(points) / (width, height)


def _offset(line: Float[Tensor, ' length'], peak: int) -> float:
    """Return a quarter of a pixel, signed towards the larger neighbour of `peak`; 0 for equal neighbours and at the ends of the line."""
    if not 0 < peak < len(line) - 1:
        return 0.0
    return 0.25 * float(torch.sign(line[peak + 1] - line[peak - 1]))


def five_landmarks(points: Float[np.ndarray, '98 2']) -> Float[np.ndarray, '5 2']:
    """Return, from WFLW's 98 landmarks, the five of `frex.data.landmarks` in their order; an eye is the middle between its corners."""
    return np.stack([points[LEFT_EYE].mean(axis=0), points[RIGHT_EYE].mean(axis=0), points[NOSE_TIP], *points[MOUTH_CORNERS]])

"""Which pixels of an aligned face are face and hair, with facexlib's ParseNet. Its file is read safely, and never fetched."""

from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float32
from torch import nn

from frex.images import Image, resize
from frex.restore.faces.paste import soft_square
from frex.tensors import to_tensor
from frex.weights.locate import require_file
from frex.weights.state_dict import as_state, load_strict
from frex.weights.torch_file import read_torch_file

KEY = 'parsenet'
SEEN_SIZE = 512
CLASSES = 19
# In ParseNet's numbering: skin, nose, glasses, eyes, brows, ears, mouth, lips, hair, earrings. Not: background, hat, necklace, neck, cloth.
TAKEN = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15)
# Pixels of SEEN_SIZE.
FEATHER = 15.0


class FaceParser:
    """A ParseNet on a device."""

    def __init__(self, net: nn.Module, device: torch.device | str = 'cpu') -> None:
        self.net, self.device = net.to(device).eval(), torch.device(device)

    @classmethod
    def from_weights(cls, weights: Path | None = None, device: torch.device | str = 'cpu') -> 'FaceParser':
        """Raises FRExError, with the command that mends it, where the file is missing or damaged."""
        path = require_file(KEY, weights)
        net = build_parsenet()
        load_strict(net, as_state(read_torch_file(path), str(path)), str(path))
        return cls(net, device)

    @torch.inference_mode()
    def mask(self, face: Image) -> Float32[np.ndarray, 'size size']:
        """How much of each pixel of an aligned face is pasted: face and hair, feathered, and 0 at the border of the square."""
        seen = to_tensor(resize(face, SEEN_SIZE))[None].to(self.device)
        classes = self.net(seen)[0][0].argmax(dim=0).cpu().numpy()
        taken = cv2.GaussianBlur(np.isin(classes, TAKEN).astype(np.float32), (0, 0), FEATHER)
        size = face.shape[0]
        return cv2.resize(taken, (size, size), interpolation=cv2.INTER_AREA) * soft_square(size)


def build_parsenet() -> nn.Module:
    """facexlib's network with random weights."""
    # Importing facexlib takes seconds.
    from facexlib.parsing.parsenet import ParseNet

    return ParseNet(in_size=SEEN_SIZE, out_size=SEEN_SIZE, parsing_ch=CLASSES)

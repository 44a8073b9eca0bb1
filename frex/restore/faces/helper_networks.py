"""The networks that FREx uses besides its own: face detector, face parser and ArcFace.

Each is loaded once, when it is first needed. Their weight files are located by the manifest and read without executing code.
"""

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor, nn

from frex.errors import FRExError
from frex.images import Image, resize
from frex.restore.detection.detector import Detector
from frex.restore.detection.pyramid import check_detection_size
from frex.restore.detection.retinaface import FaceDetector
from frex.restore.faces.paste import soft_square
from frex.tensors import to_tensor
from frex.weights.download import obtain_file
from frex.weights.locate import has_file
from frex.weights.network_file import build_network, read_network
from frex.weights.state_dict import as_state, load_strict
from frex.weights.torch_file import read_torch_file
from frex_arch import ArcFace
from frex_arch.arcface import to_arcface_input

T = TypeVar('T')

PARSER_KEY = 'parsenet'
PARSER_SIZE = 512
PARSER_CLASSES = 19
# ParseNet's classes that are pasted: skin, nose, glasses, eyes, brows, ears, mouth, lips, hair and earrings. Background, hat, necklace,
# neck and cloth are not.
PASTED_CLASSES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15)
# Standard deviation, in pixels of the parser's input, of the blur that feathers the mask.
FEATHER = 15.0

ARCFACE_KEY = 'arcface_resnet18'


class FaceParser:
    """A ParseNet on a device, which marks the pixels of face and hair in an aligned face."""

    def __init__(self, net: nn.Module, device: torch.device | str = 'cpu') -> None:
        self.net, self.device = net.to(device).eval(), torch.device(device)

    @classmethod
    def from_weights(cls, weights: Path | None = None, device: torch.device | str = 'cpu') -> 'FaceParser':
        """Load the network from the folder `weights` or the default places.

        A missing or damaged file is downloaded first. Raises FRExError, which says what to do, where that is not possible or not allowed.
        """
        path = obtain_file(PARSER_KEY, weights)
        net = build_parsenet()
        load_strict(net, as_state(read_torch_file(path), str(path)), str(path))
        return cls(net, device)

    @torch.inference_mode()
    def mask(self, face: Image) -> Float32[np.ndarray, 'size size']:
        """Return how much of each pixel of an aligned BGR face is pasted, 0 to 1.

        It is 1 on face and hair, with a feathered edge, and falls to 0 at the border of the square.
        """
        lq = to_tensor(resize(face, PARSER_SIZE))[None].to(self.device)
        classes = self.net(lq)[0][0].argmax(dim=0).cpu().numpy()
        pasted = cv2.GaussianBlur(np.isin(classes, PASTED_CLASSES).astype(np.float32), (0, 0), FEATHER)
        size = face.shape[0]
        return cv2.resize(pasted, (size, size), interpolation=cv2.INTER_AREA) * soft_square(size)


def build_parsenet() -> nn.Module:
    """Build facexlib's ParseNet with random weights."""
    # Importing facexlib takes seconds.
    from facexlib.parsing.parsenet import ParseNet

    return ParseNet(in_size=PARSER_SIZE, out_size=PARSER_SIZE, parsing_ch=PARSER_CLASSES)


class IdentityNetwork:
    """An ArcFace on a device, which compares the persons in two images."""

    def __init__(self, net: ArcFace, device: torch.device | str = 'cpu') -> None:
        self.net = net.to(device).eval()

    @classmethod
    def from_weights(cls, weights: Path | None = None, device: torch.device | str = 'cpu') -> 'IdentityNetwork':
        """Load the network from the folder `weights` or the default places.

        A missing or damaged file is downloaded first. Raises FRExError, which says what to do, where that is not possible or not allowed,
        and for another network.
        """
        path = obtain_file(ARCFACE_KEY, weights)
        net = build_network(read_network(path), str(path))
        if not isinstance(net, ArcFace):
            raise FRExError(f'{path}: holds the weights of {type(net).__name__}, not of ArcFace')
        return cls(net, device)

    @torch.inference_mode()
    def similarity(
        self, first: Float[Tensor, 'batch 3 height width'], second: Float[Tensor, 'batch 3 height width']
    ) -> Float[Tensor, ' batch']:
        """Return the cosine of the embeddings of each pair of faces: 1 for the same image, about 0 for two persons.

        Both are RGB, in FFHQ alignment and of any size. `first` lies in [-1, 1]; `second` may be a network's output, and is clamped to
        that range. No gradient is recorded.
        """
        return F.cosine_similarity(self.net(to_arcface_input(first.float())), self.net(to_arcface_input(second.float().clamp(-1, 1))))


class Lazy(Generic[T]):
    """A value that `build` makes when it is first called for; all threads then get the same one. A failed attempt is repeated later."""

    def __init__(self, build: Callable[[], T]) -> None:
        self._build, self._lock = build, threading.Lock()
        self._values: list[T] = []

    def __call__(self) -> T:
        with self._lock:
            if not self._values:
                self._values.append(self._build())
            return self._values[0]


class HelperNetworks:
    """Face detector, face parser and ArcFace on a device; call an attribute to get the network.

    The folder `weights` is searched first for files. `detection_model` is the detector's key in the manifest; `detector` is used instead of
    facexlib's, if given; `detection_size` is that of `FaceDetector`, and FRExError is raised where it is less than 64.

    The files of the detector and the parser are downloaded at the first call where they are missing; that of ArcFace is not, and
    `identity()` is None without it. Where a download is not possible or not allowed, `detector()` raises FRExError, and `parser()`
    prints a line on stderr and returns None. A damaged file of any of the three is downloaded anew; FRExError is raised where that fails.
    """

    def __init__(
        self,
        device: torch.device | str = 'cpu',
        weights: Path | None = None,
        detection_model: str | None = None,
        detector: Detector | None = None,
        detection_size: int | None = None,
    ) -> None:
        check_detection_size(detection_size)
        self.detector: Lazy[Detector] = Lazy(
            lambda: detector or FaceDetector.from_weights(weights, device, detection_model, detection_size)
        )
        self.parser = Lazy(lambda: _load_parser(weights, device))
        self.identity = Lazy(lambda: IdentityNetwork.from_weights(weights, device) if has_file(ARCFACE_KEY, weights) else None)


def _load_parser(weights: Path | None, device: torch.device | str) -> FaceParser | None:
    """Load the face parser; where its file is missing and cannot be downloaded, say so on stderr and return None."""
    try:
        return FaceParser.from_weights(weights, device)
    except FRExError as error:
        if has_file(PARSER_KEY, weights):
            raise
        print(f'{error}; faces are pasted without a face parser', file=sys.stderr)
        return None

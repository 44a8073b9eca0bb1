"""The network of FID: pytorch-fid's Inception, as BasicSR implements it."""

import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from basicsr.archs import inception
from jaxtyping import Float
from torch import Tensor, nn

from frex import compat
from frex.errors import FRExError
from frex.utils.files import sha256
from frex.weights.download import obtain_file
from frex.weights.state_dict import as_state
from frex.weights.torch_file import read_torch_file

KEY = 'inception_fid'
FEATURES = 2048
INPUT_SIZE = 299


class Inception(nn.Module):
    """Maps images, RGB in [-1, 1] and of any size, to 2048 features, in evaluation mode.

    `path` is the file of weights; None means random weights, for tests only. `sha256` is the file's checksum, or None. Raises FRExError
    where the file is missing, damaged or of another network.
    """

    features = FEATURES

    def __init__(self, path: Path | None) -> None:
        super().__init__()
        self.net = _build_random() if path is None else _build_with_weights(path)
        self.sha256 = None if path is None else sha256(path)
        self.requires_grad_(False).eval()

    @classmethod
    def from_weights(cls, weights: Path | None = None, device: torch.device | str = 'cpu') -> 'Inception':
        """Load the network to `device`; its file is searched for in the folder `weights` (`--weights`) first, then in the usual ones.

        A missing or damaged file is downloaded first. Raises FRExError, which says what to do, where that is not possible or not allowed.
        """
        return cls(obtain_file(KEY, weights)).to(device)

    def forward(self, faces: Float[Tensor, 'batch 3 height width']) -> Float[Tensor, 'batch 2048']:
        """Return the features of a batch, RGB in [-1, 1], on the device of the network, to which the batch is moved."""
        device = next(self.net.parameters()).device
        return self.net(resize_for_inception(faces.to(device)))[0].flatten(1)


def resize_for_inception(faces: Float[Tensor, 'batch 3 height width']) -> Float[Tensor, 'batch 3 299 299']:
    """Resize images, RGB in [-1, 1], to 299 x 299, bilinearly without antialiasing.

    This is the first step of BasicSR's network, which leaves images of that size alone. Taken before, it lets images of different sizes
    share a batch.
    """
    return F.interpolate(faces, size=(INPUT_SIZE, INPUT_SIZE), mode='bilinear', align_corners=False)


def _build_random() -> nn.Module:
    """Build the network with random weights, without the download that BasicSR's constructor does."""
    skip = {'load_state_dict': lambda *_, **__: None}
    with compat.replaced(nn.Module, skip), compat.replaced(inception, {'load_url': lambda *_, **__: None}):
        return _build()


def _build_with_weights(path: Path) -> nn.Module:
    """Build the network with the weights in a file; raise FRExError where they are damaged or of another network."""
    # BasicSR itself would download the file and unpickle it without restrictions.
    state = as_state(read_torch_file(path), str(path))
    try:
        with compat.replaced(inception, {'LOCAL_FID_WEIGHTS': '', 'load_url': lambda *_, **__: state}):
            return _build()
    except RuntimeError as error:
        raise FRExError(f'{path}: not the Inception network of pytorch-fid ({str(error).splitlines()[-1].strip()})') from None


def _build() -> nn.Module:
    """Build BasicSR's network, whose output is the 2048 features of the last pooling."""
    with warnings.catch_warnings():
        # BasicSR uses a deprecated argument of torchvision to ask for no ImageNet weights.
        warnings.simplefilter('ignore', UserWarning)
        return inception.InceptionV3([inception.InceptionV3.DEFAULT_BLOCK_INDEX], normalize_input=False)

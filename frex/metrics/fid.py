"""FID (Heusel et al. 2017) between the results and the clean pictures of a set."""

import warnings
from functools import cached_property
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import torch.distributed as dist
from basicsr.archs import inception
from basicsr.metrics.fid import calculate_fid
from jaxtyping import Float
from torch import Tensor, nn

from frex.errors import FRExError
from frex.images import Image
from frex.tensors import to_tensor
from frex.weights.places import locate
from frex.weights.state import as_state
from frex.weights.torch_file import read_torch_file

FEATURES = 2048


class Gaussian:
    """Mean and covariance of features, from sums, so that no feature is kept."""

    def __init__(self, device: torch.device) -> None:
        self.count = torch.zeros([], dtype=torch.float64, device=device)
        self.sum = torch.zeros(FEATURES, dtype=torch.float64, device=device)
        self.products = torch.zeros(FEATURES, FEATURES, dtype=torch.float64, device=device)

    def add(self, features: Float[Tensor, 'batch feature']) -> None:
        """Some more."""
        features = features.double()
        self.count += len(features)
        self.sum += features.sum(dim=0)
        self.products.addmm_(features.T, features)

    def gather(self) -> None:
        """Those of all processes."""
        for value in (self.count, self.sum, self.products):
            dist.all_reduce(value)

    def moments(self) -> tuple[Float[np.ndarray, ' feature'], Float[np.ndarray, 'feature feature']]:
        """Mean, and covariance as of a sample."""
        mean = self.sum / self.count
        covariance = (self.products - self.count * torch.outer(mean, mean)) / (self.count - 1)
        return mean.cpu().numpy(), covariance.cpu().numpy()


class FID:
    """BasicSR's FID. `weights` is a key of the manifest or a file; random if None, which is for tests only."""

    def __init__(self, weights: str | None = 'inception_fid') -> None:
        self.inception = load_inception(None if weights is None else locate(weights))

    @cached_property
    def device(self) -> torch.device:
        """Chosen late: the options are checked by building this, before a process knows its GPU."""
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')

    @cached_property
    def gaussians(self) -> tuple[Gaussian, Gaussian]:
        """Of the results and of the clean pictures."""
        self.inception.to(self.device)
        return Gaussian(self.device), Gaussian(self.device)

    @torch.inference_mode()
    def add(self, img: Image, img2: Image) -> None:
        """A result and its clean picture, BGR."""
        for gaussian, image in zip(self.gaussians, (img, img2), strict=True):
            gaussian.add(self.inception(to_tensor(image)[None].to(self.device))[0].flatten(1))

    def value(self) -> float:
        """Over the pictures of all processes; nan of less than two."""
        if dist.is_available() and dist.is_initialized():
            for gaussian in self.gaussians:
                gaussian.gather()
        results, gts = self.gaussians
        if results.count < 2:
            return float('nan')
        try:
            return float(calculate_fid(*results.moments(), *gts.moments()))
        except ValueError as error:
            # BasicSR's, where a root of few pictures' covariances is rounded too far.
            warnings.warn(f'FID of {int(results.count)} pictures cannot be calculated ({error})', stacklevel=2)
            return float('nan')


def load_inception(path: Path | None) -> nn.Module:
    """The network of pytorch-fid, RGB in [-1, 1] to 2048 features; random if None."""
    if path is None:
        with mock.patch.object(nn.Module, 'load_state_dict'), mock.patch.object(inception, 'load_url'):
            return _build_inception()
    # BasicSR would fetch it, and read it with more than weights in it.
    state = as_state(read_torch_file(path), str(path))
    try:
        with mock.patch.multiple(inception, LOCAL_FID_WEIGHTS='', load_url=lambda *_, **__: state):
            return _build_inception()
    except RuntimeError as error:
        raise FRExError(f'{path}: not the Inception network of pytorch-fid ({str(error).splitlines()[-1].strip()})') from None


def _build_inception() -> nn.Module:
    return inception.InceptionV3([inception.InceptionV3.DEFAULT_BLOCK_INDEX], normalize_input=False).eval()

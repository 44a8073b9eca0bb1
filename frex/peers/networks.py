"""Networks as their own projects run them on an aligned face."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from frex import compat
from frex.errors import FRExError
from frex.images import Image
from frex.restore import FaceRestorer
from frex.tensors import to_images
from frex.weights.state_dict import load_strict, pick
from frex.weights.torch_file import read_torch_file

# A face, BGR, of any size, and the seed of what the network draws -> the restored face, BGR.
Restore = Callable[[Image, int], Image]

# That of GFPGAN's and RestoreFormer's published weights.
SIZE = 512
# GFPGAN 1.2, 1.3 and 1.4.
CLEAN = {
    'out_size': SIZE,
    'num_style_feat': 512,
    'channel_multiplier': 2,
    'decoder_load_path': None,
    'fix_decoder': False,
    'num_mlp': 8,
    'input_is_latent': True,
    'different_w': True,
    'narrow': 1,
    'sft_half': True,
}


def load_frex(model: Path, device: torch.device) -> Restore:
    """In fp32, as the others, so that times compare."""
    restorer = FaceRestorer.from_pretrained(model, str(device), precision='fp32', face_batch=1)
    return lambda image, seed: restorer.restore_aligned(image)


def load_gfpgan(model: Path, device: torch.device) -> Restore:
    """GFPGANv1Clean. It draws noise for each face."""
    return _of_gfpgans_package('gfpgan.archs.gfpganv1_clean_arch', 'GFPGANv1Clean', CLEAN, model, device)


def load_restoreformer(model: Path, device: torch.device) -> Restore:
    """RestoreFormer as GFPGAN's package has it."""
    return _of_gfpgans_package('gfpgan.archs.restoreformer_arch', 'RestoreFormer', {}, model, device)


LOADERS: dict[str, Callable[[Path, torch.device], Restore]] = {
    'frex': load_frex,
    'gfpgan': load_gfpgan,
    'restoreformer': load_restoreformer,
}


def _of_gfpgans_package(module: str, name: str, arguments: dict[str, Any], model: Path, device: torch.device) -> Restore:
    """Raises FRExError where the package is not installed, and where the weights are not this network's."""
    compat.install()
    try:
        constructor = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise FRExError(f"{name} needs the package {error.name}: pip install 'frex[peers]'") from None
    content = read_torch_file(model)
    weights = content if isinstance(content, dict) else {}
    state = pick(weights, 'params_ema' if 'params_ema' in weights else 'params', str(model))
    net: nn.Module = constructor(**arguments)
    load_strict(net, state, str(model))
    net.eval().to(device)
    return lambda image, seed: _restore(net, image, seed, device)


@torch.inference_mode()
def _restore(net: nn.Module, image: Image, seed: int, device: torch.device) -> UInt8[np.ndarray, 'size size 3']:
    """As GFPGANer.enhance does with `has_aligned`, but for the seed, and for an error where it would give the input back."""
    torch.manual_seed(seed)
    output = net(_to_input(image)[None].to(device), return_rgb=False)[0].squeeze(0)
    if not torch.isfinite(output).all():
        raise FRExError('the output of the network is not finite')
    return to_images(output[None])[0]


def _to_input(image: Image) -> Float[Tensor, '3 size size']:
    """RGB in [-1, 1]; to the last bit as GFPGANer makes it, whatever the size of the face."""
    resized = cv2.resize(image, (SIZE, SIZE)) / 255.0
    return torch.from_numpy(np.ascontiguousarray(resized[:, :, ::-1].transpose(2, 0, 1))).float().sub_(0.5).div_(0.5)

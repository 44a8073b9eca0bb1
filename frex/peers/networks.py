"""Load networks, and run them on an aligned face exactly as their own projects do."""

import importlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from frex.errors import FRExError
from frex.images import Image
from frex.restore import FaceRestorer
from frex.tensors import to_images
from frex.utils.extras import require_package
from frex.weights.state_dict import load_strict, pick_state
from frex.weights.torch_file import read_torch_file

# Restores a face: takes BGR uint8 of any size and a random seed, returns BGR uint8.
RestoreFunction = Callable[[Image, int], Image]

# The width in pixels of the faces that the published networks take.
INPUT_SIZE = 512
# The constructor arguments for the weights of GFPGAN 1.2, 1.3 and 1.4.
GFPGAN_ARGUMENTS = {
    'out_size': INPUT_SIZE,
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
# CodeFormer's w of its script: 0 for quality, 1 for fidelity. Its script also sets `adain`, which this class always does.
CODEFORMER_WEIGHT = 0.5


def load_frex(model: Path, device: torch.device) -> RestoreFunction:
    """Load FREx; it runs in fp32 like the other networks, so that times are comparable. It does not use the seed."""
    restorer = FaceRestorer.from_pretrained(model, str(device), precision='fp32', face_batch=1)
    return lambda image, seed: restorer.restore_aligned(image)


def load_gfpgan(model: Path, device: torch.device) -> RestoreFunction:
    """Load GFPGANv1Clean, which adds random noise to its features."""
    net = _load_network('spandrel.architectures.GFPGAN', 'GFPGAN', GFPGAN_ARGUMENTS, model)
    return _restore_with(partial(net.to(device), return_rgb=False), device)


def load_restoreformer(model: Path, device: torch.device) -> RestoreFunction:
    """Load RestoreFormer as the GFPGAN package implements it."""
    net = _load_network('spandrel.architectures.RestoreFormer', 'RestoreFormer', {}, model)
    return _restore_with(net.to(device), device)


def load_codeformer(model: Path, device: torch.device) -> RestoreFunction:
    """Load CodeFormer; it runs with the w of its script, 0.5."""
    net = _load_network('spandrel_extra_arches.architectures.CodeFormer', 'CodeFormer', {}, model)
    return _restore_with(partial(net.to(device), weight=CODEFORMER_WEIGHT), device)


LOADERS: dict[str, Callable[[Path, torch.device], RestoreFunction]] = {
    'frex': load_frex,
    'gfpgan': load_gfpgan,
    'restoreformer': load_restoreformer,
    'codeformer': load_codeformer,
}


def _load_network(module: str, name: str, arguments: dict[str, Any], model: Path) -> nn.Module:
    """Load a network of spandrel's, in evaluation mode on the CPU.

    `module` is the full name of the Python module, `name` the class, `arguments` are the keyword arguments of its constructor, and `model`
    is the `.pth` file of its weights. Raises FRExError where the package is missing, where the file cannot be read, and where its weights
    do not fit the class.
    """
    require_package(module.partition('.')[0], name)
    constructor = getattr(importlib.import_module(module), name)
    content = read_torch_file(model)
    weights = content if isinstance(content, dict) else {}
    state = pick_state(weights, 'params_ema' if 'params_ema' in weights else 'params', str(model))
    net: nn.Module = constructor(**arguments)
    load_strict(net, state, str(model))
    return net.eval()


def _restore_with(call: Callable[[Tensor], Any], device: torch.device) -> RestoreFunction:
    """Return a function that restores an aligned face by `call`, which maps faces, RGB in [-1, 1], to a tuple that begins with results."""
    return lambda image, seed: _restore_face(call, image, seed, device)


@torch.inference_mode()
def _restore_face(call: Callable[[Tensor], Any], image: Image, seed: int, device: torch.device) -> UInt8[np.ndarray, 'size size 3']:
    """Restore a face as GFPGANer.enhance does with `has_aligned`; return BGR uint8, 512 x 512.

    Unlike it, this sets the random seed, and raises FRExError where GFPGANer would return its input because the output is not finite.
    """
    torch.manual_seed(seed)
    output = call(_to_input(image)[None].to(device))[0].squeeze(0)
    if not torch.isfinite(output).all():
        raise FRExError('the output of the network is not finite')
    return to_images(output[None])[0]


def _to_input(image: Image) -> Float[Tensor, '3 size size']:
    """Convert a BGR uint8 face of any size to RGB in [-1, 1], 512 x 512, bit for bit as GFPGANer prepares it."""
    resized = cv2.resize(image, (INPUT_SIZE, INPUT_SIZE)) / 255.0
    return torch.from_numpy(np.ascontiguousarray(resized[:, :, ::-1].transpose(2, 0, 1))).float().sub_(0.5).div_(0.5)

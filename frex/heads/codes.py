"""Files of recovered heads: EG3D's latent codes and the camera of one head, from which the same network renders it again.

A file also holds the weights of EG3D's decoder; it is refused where those of the network that is to render the head differ.
"""

from pathlib import Path
from typing import NamedTuple

import safetensors.torch
import torch
from jaxtyping import Float
from torch import Tensor

from frex.errors import FRExError
from frex.weights.network_file import read_safetensors
from frex_arch import EG3D, FREx, FRExOutput
from frex_arch.camera import CAMERA_DIM, Camera

METADATA = {'format': 'pt', 'content': 'head of FREx'}
# The largest difference, in units of the largest value, between the decoder's weights in full and in half precision.
SAME = 2e-3
# Ends of the names of EG3D's parameters that training never leaves at zero.
PRIOR_BIASES = ('torgb.bias', 'decoder.net.0.bias', 'decoder.net.2.bias')


class Head(NamedTuple):
    """The latent codes of EG3D for one head, and the camera that sees the head as the image did, in EG3D's crop."""

    ws: Float[Tensor, '1 num_ws w']
    camera: Camera


def head_of(output: FRExOutput) -> Head | None:
    """Return the head of an output of FREx for one face; None where the network has no 3D prior."""
    return None if output.ws is None else Head(output.ws.float(), output.camera.float())


def encode_head(head: Head, eg3d: EG3D) -> bytes:
    """Return a head as the content of a `.safetensors`, with the weights of EG3D's decoder, by which `load_head` recognises the network."""
    tensors = {'ws': head.ws, 'camera': head.camera, 'decoder': _decoder_weights(eg3d)}
    return safetensors.torch.save({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, METADATA)


def load_head(path: Path, eg3d: EG3D) -> Head:
    """Read a head, on the CPU, from a file with the content of `encode_head`.

    Raises FRExError where the file is missing or another one, and for a head of another network than `eg3d`.
    """
    metadata, state = read_safetensors(path)
    if metadata.get('content') != METADATA['content'] or set(state) != {'ws', 'camera', 'decoder'}:
        raise FRExError(f'{path}: not the codes of a head; frex restore --save_3d writes them to the folder codes')
    own, saved = _decoder_weights(eg3d), state['decoder'].float()
    fits = state['ws'].shape == (1, eg3d.num_ws, eg3d.w_dim) and state['camera'].shape == (1, CAMERA_DIM) and saved.shape == own.shape
    if not fits or not torch.allclose(saved, own, rtol=0, atol=SAME * own.abs().max().item()):
        raise FRExError(f'{path}: the codes of a head of another network; give the one that made them by --model_path')
    return Head(state['ws'], state['camera'])


def _decoder_weights(eg3d: EG3D) -> Float[Tensor, ' weights']:
    """Return all weights of EG3D's decoder as one vector, float32 on the CPU, which tells networks apart."""
    return torch.cat([value.detach().float().cpu().flatten() for value in eg3d.decoder.parameters()])


def trained_prior(net: FREx) -> EG3D:
    """Return the 3D prior of a network; raise FRExError where it has none, or a random one, whose heads mean nothing."""
    if net.eg3d is None:
        raise FRExError('this network has no 3D prior, so there is no head to render')
    if has_untrained_prior(net):
        raise FRExError('the 3D prior of this network was never trained: its heads are random')
    return net.eg3d


def has_untrained_prior(net: FREx) -> bool:
    """Return whether the network has a 3D prior that is as it was at the start of training: the biases of PRIOR_BIASES are all zero."""
    if net.eg3d is None:
        return False
    biases = [value for name, value in net.eg3d.named_parameters() if name.endswith(PRIOR_BIASES)]
    return bool(biases) and not any(bias.any().item() for bias in biases)

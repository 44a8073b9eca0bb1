"""What FREx starts training from: its two frozen priors, its backbone and its encoders, from the files that the options name."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from frex.errors import FRExError
from frex.weights.network_file import PARTS, NetworkFile, is_safetensors, read_network, read_safetensors
from frex.weights.state_dict import check_fits, load_strict, torchvision_state
from frex.weights.torch_file import read_torch_file
from frex_arch import FREx, FREx3D

Net = FREx | FREx3D

# Name in `path.pretrain_network_NAME`, in the order of loading -> the part of the network that the file is for.
PRIORS = {
    'eg3d': 'EG3D',
    'stylegan2': 'StyleGAN2',
    'backbone': 'SwinTransformer',
    'encoder_3d': 'Encoder3D',
    'encoder_2d': 'Encoder2D',
}
# ... -> the manifest's file for it; the encoders are FREx's own.
OFFICIAL = {'eg3d': 'ffhqrebalanced512-128', 'stylegan2': 'stylegan2-ffhq512', 'backbone': 'swin_v2_b'}


def prior_of(net: Net, name: str) -> nn.Module | None:
    """The part of `net` that a file is for; None where the network does without it."""
    return net.encoder_3d.backbone.swin if name == 'backbone' else getattr(net, name, None)


def read_prior(name: str, path: Path) -> NetworkFile:
    """The file of one part, or a checkpoint of FREx that has it; raises FRExError where it holds something else."""
    if name == 'backbone':
        state = read_safetensors(path)[1] if is_safetensors(path) else torchvision_state(read_torch_file(path), str(path))
        # ImageNet's classifier is no part of Enc_3D.
        return NetworkFile(PRIORS[name], {}, {key: value for key, value in state.items() if not key.startswith(('norm.', 'head.'))})
    file = read_network(path)
    if file.kind in (FREx.__name__, FREx3D.__name__):
        own = {key.removeprefix(f'{name}.'): value for key, value in file.state.items() if key.startswith(f'{name}.')}
        return NetworkFile(PRIORS[name], file.arguments.get(name) or {}, own)
    if file.kind != PRIORS[name]:
        raise FRExError(f'{path}: holds the weights of {file.kind}, not of {PRIORS[name]}')
    return file


def _for(net: Net, name: str, file: NetworkFile) -> NetworkFile:
    """Without a 3D prior Enc_3D predicts the camera alone, and takes no more of its file."""
    if name != 'encoder_3d' or net.eg3d is not None:
        return file
    own = net.encoder_3d.state_dict()
    return file._replace(state={key: value for key, value in file.state.items() if key in own})


def check_prior(net: Net, name: str, path: Path) -> None:
    """Raise FRExError unless the file fits its part of `net`, which may be on the `meta` device."""
    part = prior_of(net, name)
    if part is not None:
        check_fits(part, _for(net, name, read_prior(name, path)).state, str(path))


def load_prior(net: Net, name: str, path: Path, network: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Load a file, as `check_prior` has checked it, into its part of `net`, whose options are `network`; `other_settings` of them."""
    part = prior_of(net, name)
    if part is None:
        return {}
    file = _for(net, name, read_prior(name, path))
    load_strict(part, file.state, str(path))
    return other_settings(file, network)


def other_settings(file: NetworkFile, network: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Arguments of the part that differ between its file and the options of a FREx: file's value, options' value."""
    part = next((key for key, kind in PARTS.items() if kind.__name__ == file.kind), None)
    if part is None:
        return {}
    asked = {'out_size': network.get('out_size', 512), **(network.get(part) or {})}
    defaults = {name: parameter.default for name, parameter in inspect.signature(PARTS[part]).parameters.items()}
    effective = defaults | asked
    return {name: (value, effective.get(name)) for name, value in file.arguments.items() if not _same(value, effective.get(name))}


def _same(one: Any, other: Any) -> bool:
    both_sequences = isinstance(one, list | tuple) and isinstance(other, list | tuple)
    return list(one) == list(other) if both_sequences else one == other

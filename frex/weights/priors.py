"""Loading of the parts that FREx starts training from, its two priors, its backbone and its encoders, from the files in the options."""

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


def find_part(net: Net, name: str) -> nn.Module | None:
    """Return the part of `net` that the prior `name` is loaded into; None where the network does without it."""
    return net.encoder_3d.backbone.swin if name == 'backbone' else getattr(net, name, None)


def read_prior(name: str, path: Path) -> NetworkFile:
    """Read one part from its own file or from a checkpoint of FREx; raise FRExError where the file holds something else."""
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


def _select_for(net: Net, name: str, file: NetworkFile) -> NetworkFile:
    """Return what `net` loads of a file: without a 3D prior Enc_3D predicts the camera only, and takes no more than that."""
    if name != 'encoder_3d' or net.eg3d is not None:
        return file
    own = net.encoder_3d.state_dict()
    return file._replace(state={key: value for key, value in file.state.items() if key in own})


def check_prior(net: Net, name: str, path: Path) -> None:
    """Raise FRExError unless the file fits its part of `net`, which may be on the `meta` device."""
    part = find_part(net, name)
    if part is not None:
        check_fits(part, _select_for(net, name, read_prior(name, path)).state, str(path))


def load_prior(net: Net, name: str, path: Path, network_options: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Load a file into its part of `net`, whose options are `network`; return their `differing_settings`."""
    part = find_part(net, name)
    if part is None:
        return {}
    file = _select_for(net, name, read_prior(name, path))
    load_strict(part, file.state, str(path))
    return differing_settings(file, network_options)


def differing_settings(file: NetworkFile, network_options: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the arguments of a part that differ between its file and the options of FREx: the file's value, the options' value."""
    part = next((key for key, kind in PARTS.items() if kind.__name__ == file.kind), None)
    if part is None:
        return {}
    requested = {'out_size': network_options.get('out_size', 512), **(network_options.get(part) or {})}
    defaults = {name: parameter.default for name, parameter in inspect.signature(PARTS[part]).parameters.items()}
    effective = defaults | requested
    return {name: (value, effective.get(name)) for name, value in file.arguments.items() if not _same(value, effective.get(name))}


def _same(one: Any, other: Any) -> bool:
    both_sequences = isinstance(one, list | tuple) and isinstance(other, list | tuple)
    return list(one) == list(other) if both_sequences else one == other

"""Load the parts with which training starts from the files that the options name: EG3D, StyleGAN2, Enc_3D or its backbone, and Enc_2D.

In the names of this module, `prior` stands for any of these parts.
"""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from frex.errors import FRExError
from frex.options.convert import is_same
from frex.weights.network_file import PARTS, NetworkFile, is_safetensors, read_network, read_safetensors
from frex.weights.state_dict import check_fits, load_strict, torchvision_state
from frex.weights.torch_file import read_torch_file
from frex_arch import FREx, FREx3D

Net = FREx | FREx3D

# NAME of the option `path.pretrain_network_NAME`, in the order of loading -> class of the part that the file is for.
PRIORS = {
    'eg3d': 'EG3D',
    'stylegan2': 'StyleGAN2',
    'backbone': 'SwinTransformer',
    'encoder_3d': 'Encoder3D',
    'encoder_2d': 'Encoder2D',
}
# NAME -> key of the official file in the manifest; the encoders have none.
OFFICIAL = {'eg3d': 'ffhqrebalanced512-128', 'stylegan2': 'stylegan2-ffhq512', 'backbone': 'swin_v2_b'}


def find_part(net: Net, part_name: str) -> nn.Module | None:
    """Return the part of `net` that a file is loaded into, by its name in `PRIORS`; None where the network lacks it."""
    return net.encoder_3d.backbone.swin if part_name == 'backbone' else getattr(net, part_name, None)


def read_prior(part_name: str, path: Path) -> NetworkFile:
    """Read the part `part_name` (a key of `PRIORS`) from a file of its own or, except for the backbone, from a checkpoint of FREx.

    Raises FRExError where the file is missing or damaged, or holds another network; a backbone is not checked for that.
    """
    if part_name == 'backbone':
        state = read_safetensors(path)[1] if is_safetensors(path) else torchvision_state(read_torch_file(path), str(path))
        # Enc_3D lacks the classifier.
        return NetworkFile(PRIORS[part_name], {}, {key: value for key, value in state.items() if not key.startswith(('norm.', 'head.'))})
    file = read_network(path)
    if file.kind in (FREx.__name__, FREx3D.__name__):
        own = {key.removeprefix(f'{part_name}.'): value for key, value in file.state.items() if key.startswith(f'{part_name}.')}
        return NetworkFile(PRIORS[part_name], _part_arguments(part_name, file.arguments) if part_name in PARTS else {}, own)
    if file.kind != PRIORS[part_name]:
        raise FRExError(f'{path}: holds the weights of {file.kind}, not of {PRIORS[part_name]}')
    return file


def _drop_unused_weights(net: Net, part_name: str, file: NetworkFile) -> NetworkFile:
    """Return `file` with the weights that `net` uses: without a 3D prior those of Enc_3D that predict latent codes are dropped."""
    if part_name != 'encoder_3d' or net.eg3d is not None:
        return file
    own = net.encoder_3d.state_dict()
    return file._replace(state={key: value for key, value in file.state.items() if key in own})


def check_prior(net: Net, part_name: str, path: Path) -> None:
    """Raise FRExError unless the file fits the part `part_name` of `net`, which may be on the `meta` device.

    Nothing is read where `net` lacks the part.
    """
    part = find_part(net, part_name)
    if part is not None:
        check_fits(part, _drop_unused_weights(net, part_name, read_prior(part_name, path)).state, str(path))


def load_prior(net: Net, part_name: str, path: Path, network_options: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Load a file into the part `part_name` of `net`, and return the `differing_settings` of the file and the network's options.

    Nothing is loaded where `net` lacks the part. Raises FRExError where the file does not fit.
    """
    part = find_part(net, part_name)
    if part is None:
        return {}
    file = _drop_unused_weights(net, part_name, read_prior(part_name, path))
    load_strict(part, file.state, str(path))
    return differing_settings(file, network_options)


def differing_settings(file: NetworkFile, network_options: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the constructor arguments of a part in which its file and FREx's options differ, as {name: (file's, options')}.

    It is empty for a part without arguments in `PARTS`. `network_options` is the option file's `network_g`.
    """
    part = next((key for key, kind in PARTS.items() if kind.__name__ == file.kind), None)
    if part is None:
        return {}
    effective = _part_arguments(part, network_options)
    return {name: (value, effective.get(name)) for name, value in file.arguments.items() if not is_same(value, effective.get(name))}


def _part_arguments(part_name: str, network_arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return all arguments of a part, a key of `PARTS`, with which FREx builds it when given `network_arguments`, defaults included."""
    defaults = {name: parameter.default for name, parameter in inspect.signature(PARTS[part_name]).parameters.items()}
    given = {'out_size': network_arguments.get('out_size', 512), **(network_arguments.get(part_name) or {})}
    return defaults | {name: value for name, value in given.items() if name in defaults}

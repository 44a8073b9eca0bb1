"""Read files of EG3D, StyleGAN2 and ArcFace in their own formats; read and write FREx's checkpoints and `.safetensors`; build networks."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from frex.errors import FRExError
from frex.options import arguments_of, check_arguments
from frex.utils.files import read_start, write_atomically
from frex.weights import eg3d_layout, stylegan2_layout
from frex.weights.embedded_options import OPTIONS_KEY, encode_options, find_options
from frex.weights.nvidia_pickle import MOST_VALUES, plain_value, read_nvidia_pickle
from frex.weights.safe_pickle import MALFORMED
from frex.weights.state_dict import State, as_state, build_checked, check_fits, pick_state
from frex.weights.torch_file import LEGACY_START, UNREADABLE, check_file_size, read_torch_file, unreadable_error
from frex_arch import EG3D, ArcFace, FREx, FREx3D, StyleGAN2
from frex_arch.encoder_3d import Encoder3D

NETWORKS: dict[str, type[nn.Module]] = {network.__name__: network for network in (FREx, FREx3D, EG3D, StyleGAN2, ArcFace)}

# Argument of FREx that holds the arguments of a part -> class of the part.
PARTS = {'eg3d': EG3D, 'stylegan2': StyleGAN2, 'encoder_3d': Encoder3D}

# Keys of the manifest whose files hold networks of `NETWORKS`.
BUILT = ('ffhqrebalanced512-128', 'ffhq512-128', 'stylegan2-ffhq512', 'arcface_resnet18')

# The largest header of a `.safetensors` in bytes. It has about a hundred bytes for each tensor; FREx's is below 1 MB.
MOST_HEADER = 4 << 20


class NetworkFile(NamedTuple):
    """The content of a network file: the class (a key of `NETWORKS`), its constructor arguments, and its state dict."""

    kind: str
    arguments: dict[str, Any]
    state: State


# --- Reading


def read_network(path: Path, param_key: str = 'params_ema') -> NetworkFile:
    """Read a network from a file of any format that FREx knows, which is recognised by the content; no code in the file is run.

    `param_key` is the key of the weights in checkpoints of FREx and BasicSR; for other files it has no effect. Raises FRExError where the
    file is missing or damaged, holds something else, or is such a checkpoint without that key. Whether the weights fit the network is not
    checked; see `check_network`.
    """
    start = read_start(path, len(LEGACY_START))
    try:
        if is_safetensors(path):
            return _from_safetensors(path)
        if start.startswith(b'\x80') and start != LEGACY_START:
            return _from_pickle(path)
        return _from_dictionary(read_torch_file(path), param_key, path)
    except (*MALFORMED, ArithmeticError, RuntimeError) as error:
        reason = f'it lacks {error}' if isinstance(error, KeyError) else error
        raise FRExError(f'{path}: not a network that FREx knows ({reason})') from None


def _from_pickle(path: Path) -> NetworkFile:
    network = read_nvidia_pickle(path)
    if network.class_name == 'TriPlaneGenerator':
        state = eg3d_layout.generator_weights(network.state)
        arguments = eg3d_layout.arguments_from_pickle(network.arguments, network.attributes, state)
        if eg3d_layout.ignores_camera(network.attributes):
            state = eg3d_layout.without_camera(state)
        return NetworkFile('EG3D', arguments, state)
    if network.class_name == 'Generator':
        return _from_state(network.state)
    raise ValueError(f'its G_ema is a {network.class_name}')


def _from_dictionary(content: Any, param_key: str, path: Path) -> NetworkFile:
    """Interpret an object from `torch.save`: a checkpoint of FREx, BasicSR or rosinality, a re-saved EG3D or FREx, or a state dict."""
    if not isinstance(content, dict):
        raise FRExError(f'{path}: holds a {type(content).__name__}, not a dictionary of weights')
    if 'network_g' in content:
        return _named(content['network_g'], pick_state(content, param_key, str(path)), str(path))
    for key in ('G_ema', 'g_ema', 'G'):
        if key in content:
            return _from_state(pick_state(content, key, str(path)))
    if 'params' in content or 'params_ema' in content:
        return _from_state(pick_state(content, param_key, str(path)))
    return embedded_network(content, str(path)) or _from_state(as_state(content, str(path)))


def _from_safetensors(path: Path) -> NetworkFile:
    metadata, state = read_safetensors(path)
    return _named(json.loads(metadata['network']), state, str(path)) if 'network' in metadata else _from_state(state)


def embedded_network(content: Mapping[str, Any], where: str) -> NetworkFile | None:
    """Return the network of a state dict that holds its own options (see `encode_options`); None where it holds none.

    Raises FRExError, which starts with `where`, where the options cannot be read, or where `content` is no state dict.
    """
    try:
        text = find_options(content)
        return None if text is None else _named(json.loads(text), as_state(content, where), where)
    except (ValueError, RecursionError) as error:
        raise FRExError(f'{where}: its {OPTIONS_KEY} cannot be read ({error})') from None


def _named(network: Any, state: State, where: str) -> NetworkFile:
    """Return a network from `network`, the class and arguments as the file states them, and its weights; `where` is for errors."""
    network = plain_value(network, iter(range(MOST_VALUES)))
    if not isinstance(network, dict) or network.get('type') not in NETWORKS:
        named = network.get('type') if isinstance(network, dict) else network
        raise FRExError(f'{where}: holds the network {named!r}; FREx knows {", ".join(NETWORKS)}')
    return NetworkFile(network['type'], arguments_of(network), state)


def read_safetensors(path: Path) -> tuple[dict[str, str], State]:
    """Return metadata and weights of a `.safetensors`; raise FRExError where the file is missing or damaged, or its header too long.

    Where the metadata lacks the network's options but a tensor holds them (see `encode_options`), they are returned as metadata.
    """
    length = int.from_bytes(read_start(path, 8), 'little')
    if length > MOST_HEADER:
        raise unreadable_error(path, ValueError(f'a header of {length:,} bytes'))
    try:
        check_file_size(path.stat().st_size)
        with safetensors.safe_open(path, framework='pt') as content:
            state = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118 (it is no mapping)
            options = find_options(state)
            embedded = {} if options is None else {'network': options}
            return embedded | (content.metadata() or {}), as_state(state, str(path))
    except (*UNREADABLE, safetensors.SafetensorError) as error:
        raise unreadable_error(path, error) from None


def read_state(path: Path, param_key: str | None = 'params') -> State:
    """Return the state dict of a file, on the CPU, with the names that `as_state` gives: for example without the prefix `module.`.

    A `.safetensors` is read whole. Of a file of `torch.save` the entry `param_key` is read; None reads the file itself as a state dict.
    Raises FRExError where the file is missing or damaged, lacks that key, or holds there what `as_state` refuses.
    """
    if is_safetensors(path):
        return read_safetensors(path)[1]
    content = read_torch_file(path)
    if param_key is None or not isinstance(content, dict):
        return as_state(content, str(path))
    return pick_state(content, param_key, str(path))


def is_safetensors(path: Path) -> bool:
    """Return whether a file begins as a `.safetensors` does: with a length of eight bytes, and JSON."""
    return read_start(path, 9)[8:] == b'{'


# --- Layouts


def _eg3d(state: State) -> NetworkFile:
    state = eg3d_layout.generator_weights(state)
    return NetworkFile('EG3D', eg3d_layout.arguments_from_shapes(state), state)


def _stylegan2(state: State) -> NetworkFile:
    return NetworkFile('StyleGAN2', stylegan2_layout.arguments_from_shapes(state), state)


def _arcface(state: State) -> NetworkFile:
    layers = [len({name.split('.')[1] for name in state if name.startswith(f'layer{stage}.')}) for stage in (1, 2, 3, 4)]
    return NetworkFile('ArcFace', {'layers': layers}, state)


# Name of a weight that only one layout has -> function that reads a state dict of this layout.
LAYOUTS: dict[str, Callable[[dict[str, Tensor]], NetworkFile]] = {
    'backbone.synthesis.b4.const': _eg3d,
    'style_conv1.modulated_conv.weight': _stylegan2,
    'conv1.conv.modulation.weight': lambda state: _stylegan2(stylegan2_layout.from_rosinality(state)),
    'synthesis.b4.const': lambda state: _stylegan2(stylegan2_layout.from_nvidia(state)),
    'layer1.0.prelu.weight': _arcface,
}


def _from_state(state: State) -> NetworkFile:
    for weight, read in LAYOUTS.items():
        if weight in state:
            return read(state)
    raise ValueError(f'it holds {", ".join(list(state)[:3])}, ...')


# --- Building


def check_frex_arguments(constructor: Callable[..., Any], arguments: Mapping[str, Any], where: str) -> None:
    """Raise FRExError, which starts with `where`, for an argument that the constructor of FREx or FREx3D, or of one of its parts, lacks."""
    check_arguments(constructor, arguments, where)
    for key, part in PARTS.items():
        check_arguments(part, arguments.get(key) or {}, f'{where}.{key}')


def check_network(file: NetworkFile, where: str) -> None:
    """Raise FRExError, which starts with `where`, unless a network can be built from the arguments and the weights fit it and are finite.

    The network is built on the `meta` device, without memory for its weights.
    """
    constructor = NETWORKS[file.kind]
    if constructor in (FREx, FREx3D):
        check_frex_arguments(constructor, file.arguments, f'{where}: network_g')
    else:
        check_arguments(constructor, file.arguments, f'{where}: {file.kind}')
    with torch.device('meta'):
        net = build_checked(constructor, file.arguments, f'{where}: {"network_g" if constructor in (FREx, FREx3D) else file.kind}')
    check_fits(net, file.state, where)


def build_network(file: NetworkFile, where: str) -> nn.Module:
    """Build the network with its weights, in evaluation mode; raise FRExError, which starts with `where`, where it cannot be built."""
    check_network(file, where)
    net = NETWORKS[file.kind](**file.arguments)
    net.load_state_dict(file.state)
    return net.eval()


def load_network(path: str | Path, param_key: str = 'params_ema') -> nn.Module:
    """Read a file and build its network, in evaluation mode on the CPU: a FREx, FREx3D, EG3D, StyleGAN2 or ArcFace, as the file says.

    The arguments are those of `read_network`. Raises FRExError as that does, and where the weights do not fit or are not finite.
    """
    return build_network(read_network(Path(path), param_key), str(path))


def build_frex(file: NetworkFile, where: str) -> FREx:
    """Build a FREx as `build_network` does; raise FRExError where the file holds another network."""
    net = build_network(file, where) if file.kind == FREx.__name__ else None
    if not isinstance(net, FREx):
        raise FRExError(f'{where}: not a FREx checkpoint but the weights of {file.kind}')
    return net


# --- Writing


def save_checkpoint(path: Path, states: Mapping[str, State], options: Mapping[str, Any]) -> None:
    """Write a checkpoint of training atomically: `states` by key, e.g. `params_ema`, and beside them the entries of `options`.

    `options` has `network_g`, the class and the arguments of the network, without which the file does not say what to build. An existing
    file is replaced. The folder must exist.
    """
    content = {key: {name: value.detach().cpu() for name, value in state.items()} for key, state in states.items()}
    with write_atomically(path) as part:
        torch.save(content | dict(options), part)


def save_safetensors(path: Path, file: NetworkFile, half: bool = False) -> None:
    """Write a network as a `.safetensors` with its class and arguments, atomically.

    An existing file is replaced, and a missing folder is made. With `half` the weights are stored in float16. A network built from the file
    has float32 parameters all the same. The options of a FREx are also stored as a tensor, for programs that do not read metadata (see
    `encode_options`). Raises FRExError where the file cannot be written, and where weights are too large for float16.
    """
    state = {name: value.detach().cpu().contiguous().clone() for name, value in file.state.items()}
    if half:
        state = {name: to_half_precision(name, value) if value.is_floating_point() else value for name, value in state.items()}
    options = {'type': file.kind, **file.arguments}
    embedded = {OPTIONS_KEY: encode_options(options)} if file.kind == FREx.__name__ else {}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(path) as part:
            # safetensors makes files that only their owner can read; the user's umask says who may.
            part.touch()
            mode = part.stat().st_mode
            safetensors.torch.save_file(state | embedded, part, {'format': 'pt', 'network': json.dumps(options)})
            part.chmod(mode)
    except (OSError, safetensors.SafetensorError) as error:
        raise FRExError(f'{path}: cannot be written ({error})') from None


def to_half_precision(name: str, value: Tensor) -> Tensor:
    """Return the values of the weight `name` in float16; raise FRExError where some are too large for it."""
    halved = value.to(torch.float16)
    if not torch.isfinite(halved).all():
        raise FRExError(f'{name}: weights up to {value.abs().max().item():.3g} do not fit half precision; leave out --half')
    return halved

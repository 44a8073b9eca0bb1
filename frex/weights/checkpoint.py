"""FREx checkpoints: state dicts, with the options of the network they belong to."""

import pickle
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from frex.errors import FRExError
from frex.files import replacing
from frex.options import check_arguments
from frex_arch import EG3D, FREx, StyleGAN2
from frex_arch.encoder_3d import Encoder3D

State = dict[str, Tensor]
T = TypeVar('T')

# What `torch.load` raises for files that are not its own.
UNREADABLE = (OSError, RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError, pickle.UnpicklingError)

# Arguments of FREx that are themselves arguments of a part.
PARTS = {'eg3d': EG3D, 'stylegan2': StyleGAN2, 'encoder_3d': Encoder3D}


class Checkpoint(NamedTuple):
    """`network` are the constructor's arguments, without BasicSR's `type`."""

    network: dict[str, Any]
    state: State


def save_checkpoint(path: Path, states: Mapping[str, State], options: Mapping[str, Any]) -> None:
    """Write under a temporary name, then rename: a file under its final name is whole."""
    content = {key: {name: value.detach().cpu() for name, value in state.items()} for key, state in states.items()}
    with replacing(path) as part:
        torch.save(content | dict(options), part)


def read_file(path: Path) -> dict[str, Any]:
    """A dictionary that `torch.save` wrote, without unpickling code; raises FRExError for anything else."""
    if not path.is_file():
        raise FRExError(f'{path}: no such file')
    try:
        content = torch.load(path, map_location='cpu', weights_only=True)
    except UNREADABLE as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise FRExError(f'{path}: not a file of weights, or a damaged one ({reason})') from None
    if not isinstance(content, dict):
        raise FRExError(f'{path}: holds a {type(content).__name__}, not a dictionary of weights')
    return content


def read_checkpoint(path: Path, param_key: str = 'params_ema') -> Checkpoint:
    """A FREx checkpoint; raises FRExError where the file does not say that it is one, or has no `param_key`."""
    content = read_file(path)
    network = content.get('network_g')
    if not isinstance(network, dict) or network.get('type') != 'FREx':
        held = ', '.join(sorted(map(str, content))[:4])
        raise FRExError(f'{path}: not a FREx checkpoint: it does not name its network under network_g (it holds {held}, ...)')
    if param_key not in content:
        raise FRExError(f'{path}: has no {param_key}; it holds {", ".join(sorted(content))}')
    return Checkpoint({key: value for key, value in network.items() if key != 'type'}, content[param_key])


def check_frex_arguments(arguments: Mapping[str, Any], where: str) -> None:
    """Raise FRExError for a key that `FREx`, or the part of it that the key is for, does not take."""
    check_arguments(FREx, arguments, where)
    for key, part in PARTS.items():
        check_arguments(part, arguments.get(key) or {}, f'{where}.{key}')


def build_checked(constructor: Callable[..., T], arguments: Mapping[str, Any], where: str) -> T:
    """`constructor(**arguments)`; whatever it raises for wrong values becomes a FRExError."""
    try:
        return constructor(**arguments)
    except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, AssertionError, RuntimeError) as error:
        raise FRExError(f'{where}: {" ".join(str(error).split()) or type(error).__name__}') from None


def build_frex(checkpoint: Checkpoint, where: str) -> FREx:
    """The network of a checkpoint, in evaluation mode; raises FRExError where options or weights do not fit."""
    check_frex_arguments(checkpoint.network, f'{where}: network_g')
    net = build_checked(FREx, checkpoint.network, f'{where}: network_g')
    load_strict(net, checkpoint.state, where)
    return net.eval()


def load_strict(net: nn.Module, state: State, where: str) -> None:
    """Load every key or none; the FRExError lists missing, unexpected and misshapen keys by prefix."""
    problem = mismatch(net, state)
    if problem:
        raise FRExError(f'{where}: the weights do not fit {type(net).__name__}: {problem}')
    net.load_state_dict(state)


def load_matching(net: nn.Module, state: State) -> str:
    """Load the keys that fit and tell, by prefix, which did not."""
    own = net.state_dict()
    net.load_state_dict({name: value for name, value in state.items() if name in own and own[name].shape == value.shape}, strict=False)
    return mismatch(net, state)


def mismatch(net: nn.Module, state: State) -> str:
    """Missing, unexpected and misshapen keys by prefix; empty where all fit."""
    own = net.state_dict()
    problems = {
        'missing': own.keys() - state.keys(),
        'unexpected': state.keys() - own.keys(),
        'of another shape': {name for name in own.keys() & state.keys() if own[name].shape != state[name].shape},
    }
    return '; '.join(f'{len(names)} {what} ({_by_prefix(names)})' for what, names in problems.items() if names)


def _by_prefix(names: Iterable[str], depth: int = 2, most: int = 4) -> str:
    prefixes = Counter('.'.join(name.split('.')[:depth]) for name in names)
    listed = [f'{prefix}.* {count}' for prefix, count in prefixes.most_common(most)]
    return ', '.join(listed) + (f', {len(prefixes) - most} more prefixes' if len(prefixes) > most else '')

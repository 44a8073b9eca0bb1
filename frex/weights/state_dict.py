"""State dicts: checked, and loaded strictly; keys that do not fit are reported by prefix."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from frex.errors import FRExError

State = dict[str, Tensor]
# The version of torch's batch normalization that has a counter of batches.
BATCH_COUNTER_VERSION = 2
T = TypeVar('T')


def as_state(content: Any, where: str) -> State:
    """Return the weights of a state dict, without the prefix that data-parallel training adds; raise FRExError for anything else.

    Counters of batch normalization are added where torch's own strict loading would add them.
    """
    if not isinstance(content, Mapping) or not content:
        raise FRExError(f'{where}: a dictionary of weights is needed, not {"an empty one" if content == {} else type(content).__name__}')
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor) or value.layout != torch.strided or value.is_quantized:
            raise FRExError(f'{where}: {name!r} is no weight but a {type(value).__name__}')
    # A small file could say that all of its weights are the same few bytes, and its network would be huge.
    storages = {value.untyped_storage().data_ptr(): value.untyped_storage().nbytes() for value in content.values()}
    if sum(value.nbytes for value in content.values()) > sum(storages.values()):
        raise FRExError(f'{where}: weights that share their memory are not supported')
    state = {name.removeprefix('module.'): value for name, value in with_batch_counters(content).items()}
    if len(state) < len(content):
        raise FRExError(f'{where}: some weights are there twice, with and without the prefix module.')
    return state


def with_batch_counters(content: Mapping[str, Tensor]) -> State:
    """Return a copy of a state dict in which each batch normalization of a torch before 0.4.1 has its `num_batches_tracked`, 0.

    Those have none. Which version wrote a module stands in the `_metadata` of the state dict; without it, all modules are old.
    """
    metadata = getattr(content, '_metadata', None)
    state: State = {}
    for name, value in content.items():
        state[name] = value
        module, _, last = name.rpartition('.')
        counter = name.removesuffix(last) + 'num_batches_tracked'
        if last == 'running_var' and counter not in content and _is_old(module, metadata):
            state[counter] = torch.tensor(0, device='cpu')
    return state


def _is_old(module: str, metadata: Any) -> bool:
    """Tell whether a batch normalization was written before version 2 of its class, in torch 0.4.1, by torch's own rule."""
    if metadata is None:
        return True
    entry = metadata.get(module, {}) if isinstance(metadata, Mapping) else None
    version = entry.get('version') if isinstance(entry, Mapping) else 'none that torch writes'
    return version is None or (isinstance(version, int) and version < BATCH_COUNTER_VERSION)


def pick_state(content: Mapping[str, Any], param_key: str, where: str) -> State:
    """Return the state dict under `param_key`; raise FRExError where there is none, and never take another in its place."""
    if param_key not in content:
        raise FRExError(f'{where}: has no {param_key}; it holds {", ".join(sorted(map(str, content))[:6])}')
    return as_state(content[param_key], f'{where}: {param_key}')


def torchvision_state(content: Any, where: str) -> State:
    """Return the weights of a network of torchvision: alone, as it publishes them, or `model` of its training script's checkpoints."""
    if isinstance(content, Mapping) and isinstance(content.get('model'), Mapping):
        return pick_state(content, 'model', where)
    return as_state(content, where)


def build_checked(constructor: Callable[..., T], arguments: Mapping[str, Any], where: str) -> T:
    """Return `constructor(**arguments)`; raise FRExError for whatever it raises for wrong values."""
    try:
        return constructor(**arguments)
    except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, AssertionError, RuntimeError) as error:
        raise FRExError(f'{where}: {" ".join(str(error).split()) or type(error).__name__}') from None


def load_strict(net: nn.Module, state: State, where: str) -> None:
    """Load every key or none; raise FRExError, which lists missing, unexpected and misshapen keys by prefix."""
    check_fits(net, state, where)
    net.load_state_dict(state)


def check_fits(net: nn.Module, state: State, where: str) -> None:
    """Raise FRExError unless `state` has the keys and shapes of `net`, which may be on the `meta` device."""
    problem = describe_mismatch(net, state)
    if problem:
        raise FRExError(f'{where}: the weights do not fit {type(net).__name__}: {problem}')


def load_matching(net: nn.Module, state: State) -> str:
    """Load the keys that fit, and return, by prefix, those that do not."""
    own = net.state_dict()
    shared = own.keys() & state.keys()
    fitting = [name for name in shared if _has_shape_of(own[name], state[name]) and _kind(own[name]) == _kind(state[name])]
    net.load_state_dict({name: state[name] for name in fitting}, strict=False)
    return describe_mismatch(net, state)


def describe_mismatch(net: nn.Module, state: State) -> str:
    """Return missing, unexpected and misshapen keys by prefix; an empty text where all fit."""
    own = net.state_dict()
    problems = {
        'missing': own.keys() - state.keys(),
        'unexpected': state.keys() - own.keys(),
        'of another shape': {name for name in own.keys() & state.keys() if not _has_shape_of(own[name], state[name])},
        'of another kind of number': {name for name in own.keys() & state.keys() if _kind(own[name]) != _kind(state[name])},
    }
    return '; '.join(f'{len(names)} {what} ({_by_prefix(names)})' for what, names in problems.items() if names)


def _has_shape_of(own: Tensor, value: Tensor) -> bool:
    """Tell whether `value` has the shape of `own`; before torch 0.4 single numbers had one dimension, which torch still loads."""
    return value.shape == own.shape or (own.ndim == 0 and value.shape == (1,))


def _kind(value: Tensor) -> tuple[bool, bool]:
    return value.is_floating_point(), value.is_complex()


def _by_prefix(names: Iterable[str], depth: int = 2, most: int = 4) -> str:
    prefixes = Counter('.'.join(name.split('.')[:depth]) for name in sorted(names))
    listed = [f'{prefix}.* {count}' for prefix, count in prefixes.most_common(most)]
    return ', '.join(listed) + (f', {len(prefixes) - most} more prefixes' if len(prefixes) > most else '')

"""Check state dicts and load them strictly; keys that do not fit are reported by prefix."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from frex.errors import FRExError
from frex.weights.embedded_options import is_options_tensor

State = dict[str, Tensor]
# The version of torch's batch normalisation since which it has the buffer `num_batches_tracked`.
BATCH_COUNTER_VERSION = 2
# What torch.compile puts before the names of a module's weights.
COMPILED_PREFIX = '_orig_mod.'
T = TypeVar('T')


def as_state(content: Any, where: str) -> State:
    """Return `content` as a state dict, without the prefix `module.` of data-parallel training and without embedded options.

    `num_batches_tracked` of old batch normalisations is added where torch's own strict loading would add it. Raises FRExError, which starts
    with `where`, for an empty dictionary and anything else than dense tensors by name, for those of a compiled module, for a name that is
    there both with and without `module.`, and where the tensors together have more bytes than their memory, since several share it.
    """
    if not isinstance(content, Mapping) or not content:
        raise FRExError(f'{where}: a dictionary of weights is needed, not {"an empty one" if content == {} else type(content).__name__}')
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor) or value.layout != torch.strided or value.is_quantized:
            raise FRExError(f'{where}: {name!r} is no weight but a {type(value).__name__}')
    if any(COMPILED_PREFIX in name for name in content):
        raise FRExError(
            f'{where}: the weights of a compiled module, whose names have {COMPILED_PREFIX} in them; save the module that torch.compile '
            'was given, or remove the prefix from the names'
        )
    # A small file could let all of its weights share a few bytes, and the network built from it would be huge.
    storages = {value.untyped_storage().data_ptr(): value.untyped_storage().nbytes() for value in content.values()}
    if sum(value.nbytes for value in content.values()) > sum(storages.values()):
        raise FRExError(f'{where}: weights that share their memory are not supported')
    counted = with_batch_counters(content)
    state = {name.removeprefix('module.'): value for name, value in counted.items()}
    if len(state) < len(counted):
        raise FRExError(f'{where}: some weights are there twice, with and without the prefix module.')
    return {name: value for name, value in state.items() if not is_options_tensor(name, value)}


def with_batch_counters(content: Mapping[str, Tensor]) -> State:
    """Return a copy of a state dict with `num_batches_tracked`, 0, for each batch normalisation that torch before 0.4.1 has saved without.

    The version of each module is in the `_metadata` of the state dict; without it all modules count as old.
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
    """Return whether a batch normalisation was saved before version 2 of its class (torch 0.4.1), by the rule of torch's own loading."""
    if metadata is None:
        return True
    entry = metadata.get(module, {}) if isinstance(metadata, Mapping) else None
    version = entry.get('version') if isinstance(entry, Mapping) else 'none that torch writes'
    return version is None or (isinstance(version, int) and version < BATCH_COUNTER_VERSION)


def pick_state(content: Mapping[str, Any], param_key: str, where: str) -> State:
    """Return the state dict under `param_key`; raise FRExError, which starts with `where`, where there is none.

    It never falls back to another key, since `params` and `params_ema` hold different weights.
    """
    if param_key not in content:
        raise FRExError(f'{where}: has no {param_key}; it holds {", ".join(sorted(map(str, content))[:6])}')
    return as_state(content[param_key], f'{where}: {param_key}')


def torchvision_state(content: Any, where: str) -> State:
    """Return the state dict of a network of torchvision, from `content` as published or from a checkpoint of its training script."""
    if isinstance(content, Mapping) and isinstance(content.get('model'), Mapping):
        return pick_state(content, 'model', where)
    return as_state(content, where)


def build_checked(constructor: Callable[..., T], arguments: Mapping[str, Any], where: str) -> T:
    """Return `constructor(**arguments)`; turn the errors that wrong values raise into FRExError, which starts with `where`."""
    try:
        return constructor(**arguments)
    except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, AssertionError, RuntimeError) as error:
        raise FRExError(f'{where}: {" ".join(str(error).split()) or type(error).__name__}') from None


def load_strict(net: nn.Module, state: State, where: str) -> None:
    """Load all of `state` into `net`; raise FRExError, which starts with `where`, and load nothing where keys or shapes do not fit."""
    check_fits(net, state, where)
    net.load_state_dict(state)


def check_fits(net: nn.Module, state: State, where: str) -> None:
    """Raise FRExError, which says by prefix what does not fit, unless `state` has the keys and shapes of `net` and finite numbers.

    `net` may be on the `meta` device. The message starts with `where`.
    """
    problem = describe_mismatch(net, state)
    if problem:
        raise FRExError(f'{where}: the weights do not fit {type(net).__name__}: {problem}')
    broken = [name for name, value in state.items() if not is_finite(value)]
    if broken:
        raise FRExError(f'{where}: {len(broken)} of {len(state)} tensors hold numbers that are NaN or infinite, the first: {broken[0]}')


def is_finite(value: Tensor) -> bool:
    """Return whether a tensor has neither NaN nor infinite numbers in float32, in which networks compute; True for whole numbers."""
    if not value.is_floating_point() or not value.numel():
        return True
    # In one pass, without a tensor of results.
    least, greatest = value.float().aminmax()
    return bool(least.isfinite() and greatest.isfinite())


def load_matching(net: nn.Module, state: State) -> str:
    """Load those weights that fit `net`, and return what does not, as `describe_mismatch` does."""
    own = net.state_dict()
    shared = own.keys() & state.keys()
    fitting = [name for name in shared if _has_shape_of(own[name], state[name]) and _kind(own[name]) == _kind(state[name])]
    net.load_state_dict({name: state[name] for name in fitting}, strict=False)
    return describe_mismatch(net, state)


def describe_mismatch(net: nn.Module, state: State) -> str:
    """Return in one line, for people, how many keys are missing, unexpected or of another shape, by prefix; an empty string if all fit."""
    own = net.state_dict()
    problems = {
        'missing': own.keys() - state.keys(),
        'unexpected': state.keys() - own.keys(),
        'of another shape': {name for name in own.keys() & state.keys() if not _has_shape_of(own[name], state[name])},
        'of another kind of number': {name for name in own.keys() & state.keys() if _kind(own[name]) != _kind(state[name])},
    }
    return '; '.join(f'{len(names)} {what} ({_by_prefix(names)})' for what, names in problems.items() if names)


def _has_shape_of(own: Tensor, value: Tensor) -> bool:
    """Return whether `value` has the shape of `own`; (1,) passes for a scalar, which before torch 0.4 had that shape."""
    return value.shape == own.shape or (own.ndim == 0 and value.shape == (1,))


def _kind(value: Tensor) -> tuple[bool, bool]:
    return value.is_floating_point(), value.is_complex()


def _by_prefix(names: Iterable[str], depth: int = 2, most: int = 4) -> str:
    prefixes = Counter('.'.join(name.split('.')[:depth]) for name in sorted(names))
    listed = [f'{prefix}.* {count}' for prefix, count in prefixes.most_common(most)]
    return ', '.join(listed) + (f', {len(prefixes) - most} more prefixes' if len(prefixes) > most else '')

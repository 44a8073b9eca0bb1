"""Conversion of mappings of keys to values into typed options; errors name the key, and for an unknown key the nearest known one.

`convert` refuses unknown keys, `convert_known` ignores them. `check_arguments` checks the names of arguments only; `is_same` compares
values.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from typing import Any, TypeVar, get_args, get_type_hints

import msgspec

from frex.errors import FRExError, nearest

T = TypeVar('T')
Options = dict[str, Any]


class ComponentOptions:
    """The options of a network, loss, metric or schedule: its `type`, and its `arguments`, which depend on the type.

    `section` is the mapping of both, which BasicSR's builders take. A missing type is empty.
    """

    def __init__(self, section: Options) -> None:
        self.section = section
        self.type = str(section.get('type') or '')
        self.arguments = arguments_of(section)


class MetricOptions(ComponentOptions):
    """The options of a metric; `better` is `lower` or `higher`, None where it is not given, and no part of `arguments`."""

    def __init__(self, section: Options) -> None:
        super().__init__(section)
        self.better = self.arguments.pop('better', None)


def arguments_of(section: Mapping[str, Any]) -> Options:
    """Return the arguments of a network, loss or metric: all keys of its section but `type`."""
    return {key: value for key, value in section.items() if key != 'type'}


def convert(kind: type[T], mapping: Mapping[str, Any], where: str) -> T:
    """Make an instance of the dataclass `kind`; raise FRExError for an unknown, missing or mistyped key, which is named below `where`."""
    _check_keys(kind, mapping, where)
    return convert_known(kind, mapping, where)


def convert_known(kind: type[T], mapping: Mapping[str, Any], where: str) -> T:
    """Make an instance of the dataclass `kind` from `mapping`, whose other keys are ignored.

    Raises FRExError, which starts with `where`, for a missing or mistyped key, and for a value that the dataclass refuses.
    """
    try:
        return msgspec.convert(dict(mapping), kind, dec_hook=_convert_component)
    except msgspec.ValidationError as error:
        raise FRExError(f'{where}: {error}') from None


def _convert_component(kind: type, section: Any) -> Any:
    """Make a ComponentOptions or MetricOptions (`kind`) of a mapping, for msgspec, which does not know these classes.

    Raises ValueError where `section` is no mapping, which msgspec turns into a ValidationError that names the key.
    """
    if not issubclass(kind, ComponentOptions):
        raise NotImplementedError(f'options of type {kind}')
    if not isinstance(section, dict):
        raise ValueError(f'a mapping of keys to values is needed, not {section!r}')
    return kind(section)


def _check_keys(kind: Any, mapping: Any, where: str) -> None:
    """Raise FRExError for a key that the dataclass `kind`, or one that it holds, does not have."""
    if not isinstance(mapping, Mapping):
        raise FRExError(f'{where}: a mapping of keys to values is needed, not {mapping!r}')
    hints = get_type_hints(kind)
    for key, value in mapping.items():
        if key not in hints:
            raise FRExError(f'{where}.{key}: unknown key; {nearest(str(key), list(hints))}')
        for part in (hints[key], *get_args(hints[key])):
            if is_dataclass(part) and value is not None:
                _check_keys(part, value, f'{where}.{key}')


def check_arguments(function: Callable[..., Any], arguments: Any, where: str) -> None:
    """Raise FRExError for a key of `arguments` that `function` does not take, or where they are no mapping.

    The message starts with `where`. Missing arguments and the types of values are not checked.
    """
    if not isinstance(arguments, Mapping):
        raise FRExError(f'{where}: a mapping of keys to values is needed, not {arguments!r}')
    known = list(inspect.signature(function).parameters)
    for key in arguments:
        if key not in known:
            raise FRExError(f'{where}.{key}: unknown key; {nearest(str(key), known)}')


def is_same(one: Any, other: Any) -> bool:
    """Return whether two options are the same: numbers up to rounding, lists and tuples by their elements."""
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return math.isclose(one, other, rel_tol=1e-6)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(is_same, one, other))
    return bool(one == other)

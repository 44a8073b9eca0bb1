"""The network pickles of EG3D and StyleGAN2-ADA, read without running the source code that they carry.

Such a file is a dictionary of networks. Each module is a class's source text, its name, the arguments of its
constructor and its `__dict__`; each tensor's storage is a whole file of `torch.save` in its oldest format.
"""

import io
import mmap
import struct
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from frex.errors import FRExError
from frex.weights.inert_pickle import MALFORMED, Call, Global, InertUnpickler
from frex.weights.torch_file import MAGIC, PROTOCOL, STORAGES, unreadable

PERSISTENT = Global('torch_utils.persistence', '_reconstruct_persistent_obj')
BLOB = Global('torch.storage', '_load_from_bytes')
TENSOR = Global('torch._utils', '_rebuild_tensor_v2')
PARAMETERS = (Global('torch._utils', '_rebuild_parameter'), Global('torch._utils', '_rebuild_parameter_with_state'))
DICTIONARIES = (Global('dnnlib.util', 'EasyDict'), Global('collections', 'OrderedDict'))
SETS = (Global('builtins', 'set'), Global('__builtin__', 'set'))
NUMPY = [Global(f'numpy.{module}.multiarray', 'scalar') for module in ('core', '_core')]
KNOWN = {PERSISTENT, BLOB, TENSOR, *PARAMETERS, *DICTIONARIES, *SETS, *NUMPY, Global('numpy', 'dtype')}
# Classes of modules that are pickled as they are; nothing but their state is used.
ORDINARY_MODULES = ('training.', 'torch.nn.modules.')

# Deeper than any network; a chain of modules that is longer is no network.
MOST_LEVELS = 32


class PickledNetwork(NamedTuple):
    """`arguments` are those of the constructor, `attributes` the plain ones that it had when it was written."""

    class_name: str
    arguments: dict[str, Any]
    attributes: dict[str, Any]
    state: dict[str, Tensor]


def read_nvidia_pickle(path: Path, network: str = 'G_ema') -> PickledNetwork:
    """One network of a pickle of EG3D or StyleGAN2-ADA.

    Raises FRExError where the file is damaged, names anything that the format does not have, or has no `network`.
    """
    if not path.is_file():
        raise FRExError(f'{path}: no such file')
    try:
        with path.open('rb') as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            networks = InertUnpickler(content, _is_known).load()
            if not isinstance(networks, dict):
                raise TypeError(f'it holds a {type(networks).__name__}')
            if not isinstance(networks.get(network), Call):
                raise FRExError(f'{path}: has no network {network}; it holds {", ".join(map(str, networks))}')
            return _network(networks[network], len(content))
    except (*MALFORMED, OSError, RuntimeError) as error:
        raise unreadable(path, error) from None


def _is_known(named: Global) -> bool:
    return named in KNOWN or named.module.startswith(ORDINARY_MODULES)


def _network(module: Call, file_size: int) -> PickledNetwork:
    tensors = TensorReader(file_size)
    attributes = _attributes(module)
    plain = {name: plain_value(value) for name, value in attributes.items() if not name.startswith('_') and _is_plain(value)}
    state: dict[str, Tensor] = {}
    _walk(module, '', tensors, state, set())
    return PickledNetwork(_meta(module)['class_name'], plain_value(attributes['_init_kwargs']), plain, state)


# --- Modules


def _meta(module: Call) -> dict[str, Any]:
    (meta,) = module.arguments
    if module.function != PERSISTENT or meta['type'] != 'class' or meta['version'] != 6:
        raise ValueError('not a persistent module of version 6')
    return meta


def _attributes(module: Any) -> dict[str, Any]:
    """A module's `__dict__`."""
    if not isinstance(module, Call):
        raise TypeError(f'a {type(module).__name__} in the place of a module')
    attributes = _meta(module)['state'] if module.function == PERSISTENT else module.state
    if not isinstance(attributes, dict):
        raise TypeError('a module without attributes')
    return attributes


def _walk(module: Any, prefix: str, tensors: 'TensorReader', state: dict[str, Tensor], seen: set[int]) -> None:
    """Collect parameters, buffers and sub-modules in torch's order."""
    # A module that is met again would be walked once more for each way to it.
    if id(module) in seen or prefix.count('.') > MOST_LEVELS:
        raise ValueError('a module within itself, or shared')
    seen.add(id(module))
    attributes = _attributes(module)
    hidden = _elements(attributes.get('_non_persistent_buffers_set', set()))
    for group in ('_parameters', '_buffers'):
        for name, value in _items(attributes.get(group, {})):
            if value is not None and not (group == '_buffers' and name in hidden):
                state[prefix + name] = tensors.tensor(value)
    for name, child in _items(attributes.get('_modules', {})):
        if child is not None:
            _walk(child, f'{prefix}{name}.', tensors, state, seen)


def _items(value: Any) -> list[tuple[str, Any]]:
    """Items of a dictionary or of what stands for one, by names that can be part of a parameter's."""
    items = value.items if isinstance(value, Call) and value.function in DICTIONARIES else value
    if not isinstance(items, dict) or not all(isinstance(name, str) for name in items):
        raise TypeError('a dictionary by names is needed')
    return list(items.items())


def _elements(value: Any) -> Any:
    return value.arguments[0] if isinstance(value, Call) and value.function in SETS else value


# --- Plain values


def _is_plain(value: Any) -> bool:
    try:
        plain_value(value)
    except MALFORMED:
        return False
    return True


def plain_value(value: Any, levels: int = 8) -> Any:
    """Numbers, texts, and lists and dictionaries of them, out of what stands for them; raises ValueError for anything else."""
    if levels == 0:
        raise ValueError('too many levels')
    if isinstance(value, Call) and value.function in NUMPY:
        return _numpy_scalar(*value.arguments)
    if isinstance(value, Call) and value.function in DICTIONARIES:
        value = value.items
    if isinstance(value, dict):
        return {key: plain_value(item, levels - 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(plain_value(item, levels - 1) for item in value)
    if isinstance(value, Call) or not isinstance(value, str | int | float | bool | type(None)):
        raise ValueError(f'{type(value).__name__} is no plain value')
    return value


def _numpy_scalar(dtype: Call, value: bytes) -> float | int | bool:
    formats = {'f8': 'd', 'f4': 'f', 'i8': 'q', 'i4': 'i', 'b1': '?'}
    order = dtype.state[1] if dtype.state else '<'
    return struct.unpack(('>' if order == '>' else '<') + formats[dtype.arguments[0]], value)[0]


# --- Tensors


class TensorReader:
    """Tensors of one file; their storages together are never larger than it."""

    def __init__(self, file_size: int) -> None:
        self.left = file_size

    def tensor(self, value: Any) -> Tensor:
        """A contiguous tensor; raises ValueError where its size does not lie in its storage."""
        if isinstance(value, Call) and value.function in PARAMETERS:
            value = value.arguments[0]
        if not isinstance(value, Call) or value.function != TENSOR:
            raise TypeError('something else in the place of a tensor')
        storage, offset, size, stride = value.arguments[:4]
        if not isinstance(storage, Call) or storage.function != BLOB:
            raise TypeError('a tensor without storage')
        (blob,) = storage.arguments
        self.left -= len(blob)
        if self.left < 0:
            raise ValueError('its tensors are larger than the file')
        values = read_blob(blob)
        if not all(isinstance(number, int) and number >= 0 for number in (offset, *size, *stride)) or len(size) != len(stride):
            raise ValueError('sizes of a tensor are not whole numbers')
        count = torch.Size(size).numel()
        last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
        if count > len(values) or (count and last >= len(values)):
            raise ValueError(f'a tensor of size {tuple(size)} in a storage of {len(values)}')
        return values.as_strided(size, stride, offset).clone(memory_format=torch.contiguous_format)


def read_blob(blob: bytes) -> Tensor:
    """A storage, which is a whole file in torch's format from before 1.6; raises ValueError for anything else than one storage."""
    stream = io.BytesIO(blob)
    magic, protocol, system = (InertUnpickler(stream, _nothing).load() for _ in range(3))
    reference = InertUnpickler(stream, _is_storage, lambda reference: reference).load()
    keys = InertUnpickler(stream, _nothing).load()
    if (magic, protocol, system.get('little_endian')) != (MAGIC, PROTOCOL, True):
        raise ValueError('not a little-endian storage')
    kind, storage, key, _, count, *view = reference
    if kind != 'storage' or keys != [key] or any(view):
        raise ValueError('a storage that is not one alone')
    dtype = STORAGES[storage.name]
    (stored,) = struct.unpack('<q', stream.read(8))
    if not isinstance(count, int) or stored != count or len(blob) - stream.tell() != count * dtype.itemsize:
        raise ValueError(f'a storage of {count} values has {len(blob) - stream.tell()} bytes')
    return torch.frombuffer(bytearray(blob[stream.tell() :]), dtype=dtype) if count else torch.empty(0, dtype=dtype)


def _nothing(_: Global) -> bool:
    return False


def _is_storage(named: Global) -> bool:
    return named.module == 'torch' and named.name in STORAGES

"""Read the network pickles of EG3D and StyleGAN2-ADA without running the source code that they carry.

Such a file is a dictionary of networks. Each module is stored as the source text of its class, the class's name, the constructor arguments
and the module's `__dict__`. Each tensor's storage is a whole file of `torch.save` in its oldest format.
"""

import io
import mmap
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from frex.errors import FRExError
from frex.utils.files import open_regular
from frex.weights.safe_pickle import MALFORMED, Call, Global, InertUnpickler
from frex.weights.torch_file import MAGIC, PROTOCOL, STORAGES, allow_no_global, check_file_size, check_inside, unreadable_error

PERSISTENT = Global('torch_utils.persistence', '_reconstruct_persistent_obj')
BLOB = Global('torch.storage', '_load_from_bytes')
TENSOR = Global('torch._utils', '_rebuild_tensor_v2')
PARAMETERS = (Global('torch._utils', '_rebuild_parameter'), Global('torch._utils', '_rebuild_parameter_with_state'))
DICTIONARIES = (Global('dnnlib.util', 'EasyDict'), Global('collections', 'OrderedDict'))
SETS = (Global('builtins', 'set'), Global('__builtin__', 'set'))
# In protocol 2, which has no opcode for bytes, Python 3 writes them as a call of one of these.
ENCODED = Global('_codecs', 'encode')
NO_BYTES = (Global('builtins', 'bytes'), Global('__builtin__', 'bytes'))
NUMPY = [Global(f'numpy.{module}.multiarray', 'scalar') for module in ('core', '_core')]
KNOWN = {PERSISTENT, BLOB, TENSOR, *PARAMETERS, *DICTIONARIES, *SETS, ENCODED, *NO_BYTES, *NUMPY, Global('numpy', 'dtype')}
# Classes that are pickled in the ordinary way; only the modules' state is used.
ORDINARY_MODULES = ('training.', 'torch.nn.modules.')

# Limits beyond any real network. Without them a hostile file could nest shared objects so that walking it would never end.
MOST_LEVELS = 32
MOST_CHARACTERS = 200
MOST_HIDDEN = 100
MOST_VALUES = 10_000


class PickledNetwork(NamedTuple):
    """A network from a pickle: its class, constructor arguments, the plain values of its `__dict__`, and its state dict."""

    class_name: str
    arguments: dict[str, Any]
    attributes: dict[str, Any]
    state: dict[str, Tensor]


def read_nvidia_pickle(path: Path, network: str = 'G_ema') -> PickledNetwork:
    """Read the network under the key `network` from a pickle of EG3D or StyleGAN2-ADA.

    Raises FRExError where the file is missing or damaged, names a class or function that the format does not have, or has no such key.
    """
    try:
        with open_regular(path) as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            check_file_size(len(content))
            networks = InertUnpickler(content, _is_known).load()
            if content.tell() < len(content):
                raise ValueError('it has bytes after the end of its pickle')
            if not isinstance(networks, dict):
                raise TypeError(f'it holds a {type(networks).__name__}')
            if not isinstance(networks.get(network), Call):
                raise FRExError(f'{path}: has no network {network}; it holds {", ".join(map(str, networks))}')
            return _network(networks[network], len(content))
    except (*MALFORMED, OSError, RuntimeError) as error:
        raise unreadable_error(path, error) from None


def _is_known(named: Global) -> bool:
    """Return whether a network pickle may name this class or function: one of KNOWN, or one in ORDINARY_MODULES."""
    return named in KNOWN or named.module.startswith(ORDINARY_MODULES)


def _network(module: Call, file_size: int) -> PickledNetwork:
    tensors = TensorReader(file_size)
    attributes, class_name = _attributes(module), _meta(module)['class_name']
    budget = iter(range(MOST_VALUES))
    arguments = plain_value(attributes['_init_kwargs'], budget)
    if not isinstance(class_name, str) or not isinstance(arguments, dict):
        raise TypeError('a network without class or arguments')
    state: dict[str, Tensor] = {}
    _walk(module, '', tensors, state, set())
    return PickledNetwork(class_name, arguments, _plain_attributes(attributes, budget), state)


# --- Modules


def _meta(module: Call) -> dict[str, Any]:
    """Return the description of a module that NVIDIA's `torch_utils.persistence` has stored; raise ValueError for anything else."""
    (meta,) = module.arguments
    if module.function != PERSISTENT or meta['type'] != 'class' or meta['version'] != 6:
        raise ValueError('not a persistent module of version 6')
    return meta


def _attributes(module: Any) -> dict[str, Any]:
    """Return the `__dict__` of a stored module; raise TypeError or ValueError for anything else."""
    if not isinstance(module, Call):
        raise TypeError(f'a {type(module).__name__} instead of a module')
    attributes = _meta(module)['state'] if module.function == PERSISTENT else module.state
    if not isinstance(attributes, dict):
        raise TypeError('a module without attributes')
    return attributes


def _walk(module: Any, prefix: str, tensors: 'TensorReader', state: dict[str, Tensor], seen: set[int]) -> None:
    """Add the parameters and persistent buffers of a module and its sub-modules to `state`, in the order of torch's state dicts.

    `prefix` comes before the names in the module; it is empty or ends with a dot. `seen` holds the ids of the objects visited so far, and
    grows. Raises ValueError for an object that is met again or nested too deeply, and one of `MALFORMED` for what is not a module.
    """
    attributes = _attributes(module)
    groups = [_items(attributes[group]) for group in ('_parameters', '_buffers', '_modules')]
    hidden = _elements(attributes.get('_non_persistent_buffers_set', set()))
    # A shared object would be walked once for each path to it.
    if prefix.count('.') > MOST_LEVELS or seen & {id(module), id(attributes), *map(id, groups)}:
        raise ValueError('a module within itself, or shared')
    seen |= {id(module), id(attributes), *map(id, groups)}
    parameters, buffers, modules = groups
    for name, value in (*parameters.items(), *((name, value) for name, value in buffers.items() if name not in hidden)):
        if value is not None:
            state[prefix + name] = tensors.tensor(value)
    for name, child in modules.items():
        if child is not None:
            _walk(child, f'{prefix}{name}.', tensors, state, seen)


def _items(value: Any) -> dict[str, Any]:
    """Return a dictionary, or the items of a call that would make one; raise TypeError unless all keys are short strings."""
    items = _dictionary(value) if isinstance(value, Call) and value.function in DICTIONARIES else value
    if not isinstance(items, dict) or not all(isinstance(name, str) and len(name) <= MOST_CHARACTERS for name in items):
        raise TypeError('a dictionary whose keys are not short strings')
    return items


def _dictionary(call: Call) -> dict[Any, Any]:
    """Return the items of a call that would make a dictionary; Python 3 writes a call without arguments, then all items."""
    if call.arguments != ():
        raise TypeError('a dictionary of a dictionary')
    return call.items


def _elements(value: Any) -> set[str]:
    """Return a set of names, or the one that a call would make; raise TypeError for anything else and for too many names."""
    names = value.arguments[0] if isinstance(value, Call) and value.function in SETS else value
    if not isinstance(names, set | list) or len(names) > MOST_HIDDEN or not all(isinstance(name, str) for name in names):
        raise TypeError('something else than a set of a few names')
    return set(names)


# --- Plain values


def _plain_attributes(attributes: dict[Any, Any], budget: Iterator[int]) -> dict[str, Any]:
    """Return those attributes that are plain values and whose names do not begin with an underscore."""
    plain = {}
    for name, value in attributes.items():
        with suppress(*MALFORMED):
            if not name.startswith('_'):
                plain[name] = plain_value(value, budget)
    return plain


def plain_value(value: Any, budget: Iterator[int], levels: int = 8) -> Any:
    """Return None, a number, a bool, a string, or a list, tuple or dictionary of these, in which calls that would make one are replaced.

    Raises ValueError for anything else, for more values than `budget` has items, and for more than `levels` levels of nesting.
    """
    if levels == 0 or next(budget, None) is None:
        raise ValueError('too many values')
    if isinstance(value, Call) and value.function in NUMPY:
        return _numpy_scalar(*value.arguments)
    if isinstance(value, Call) and value.function in DICTIONARIES:
        value = _dictionary(value)
    if isinstance(value, dict):
        return {key: plain_value(item, budget, levels - 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(plain_value(item, budget, levels - 1) for item in value)
    if isinstance(value, Call) or not isinstance(value, str | int | float | bool | type(None)):
        raise ValueError(f'{type(value).__name__} is no plain value')
    return value


def _bytes(value: Any) -> bytes:
    """Return the bytes that `value` stands for: bytes, a call that encodes text as Python 3 writes it in protocol 2, or Python 2's text."""
    if isinstance(value, Call) and value.function in NO_BYTES and value.arguments == ():
        return b''
    if isinstance(value, Call) and value.function == ENCODED:
        value, encoding = value.arguments
        if encoding != 'latin1':
            raise ValueError('bytes in another encoding')
    if isinstance(value, str):
        return value.encode('latin1')
    if not isinstance(value, bytes):
        raise TypeError(f'a {type(value).__name__} instead of bytes')
    return value


def _numpy_scalar(dtype: Call, value: Any) -> float | int | bool:
    """Return the number that numpy would make from a pickled dtype and bytes."""
    formats = {'f8': 'd', 'f4': 'f', 'i8': 'q', 'i4': 'i', 'b1': '?'}
    name, order = dtype.arguments[0], dtype.state[1] if dtype.state else '<'
    # Checked before it is used as a key: hashing another object could be made arbitrarily slow.
    if not isinstance(name, str):
        raise TypeError('a number without a type')
    return struct.unpack(('>' if order == '>' else '<') + formats[name], _bytes(value))[0]


# --- Tensors


class TensorReader:
    """Makes the tensors of one file of `file_size` bytes; raises ValueError once their storages together exceed that."""

    def __init__(self, file_size: int) -> None:
        self.left = file_size

    def tensor(self, value: Any) -> Tensor:
        """Return the tensor that a pickled call would make, contiguous; raise ValueError where it does not lie within its storage."""
        if isinstance(value, Call) and value.function in PARAMETERS:
            value = value.arguments[0]
        if not isinstance(value, Call) or value.function != TENSOR:
            raise TypeError('a parameter or buffer that is not a tensor')
        storage, offset, size, stride = value.arguments[:4]
        if not isinstance(storage, Call) or storage.function != BLOB:
            raise TypeError('a tensor without storage')
        blob = _bytes(*storage.arguments)
        self.left -= len(blob)
        if self.left < 0:
            raise ValueError('its tensors are larger than the file')
        values = read_blob(blob)
        check_inside(offset, size, stride, len(values))
        return values.as_strided(size, stride, offset).clone(memory_format=torch.contiguous_format)


def read_blob(blob: bytes) -> Tensor:
    """Return a storage as a flat tensor; `blob` is a file of `torch.save` before torch 1.6. Raises ValueError unless it holds just one."""
    stream = io.BytesIO(blob)
    magic, protocol, system = (InertUnpickler(stream, allow_no_global).load() for _ in range(3))
    reference = InertUnpickler(stream, _is_storage, lambda reference: reference).load()
    keys = InertUnpickler(stream, allow_no_global).load()
    if (magic, protocol, system.get('little_endian')) != (MAGIC, PROTOCOL, True):
        raise ValueError('not a little-endian storage')
    kind, storage, key, _, count, *view = reference
    if kind != 'storage' or not isinstance(key, str) or keys != [key] or any(view):
        raise ValueError('it does not hold exactly one storage where it should')
    dtype = STORAGES[storage.name]
    (stored,) = struct.unpack('<q', stream.read(8))
    if not isinstance(count, int) or stored != count or len(blob) - stream.tell() != count * dtype.itemsize:
        raise ValueError(f'a storage of another size than its {len(blob) - stream.tell()} bytes')
    return torch.frombuffer(bytearray(blob[stream.tell() :]), dtype=dtype) if count else torch.empty(0, dtype=dtype)


def _is_storage(named: Global) -> bool:
    return named.module == 'torch' and named.name in STORAGES

"""Read files of `torch.save` as data: only tensors, dictionaries, lists and plain values are made.

torch's own reader is not used. Even with `weights_only` a file can make it allocate more memory than the file has bytes, accept half a file
or crash the interpreter, and it refuses checkpoints of training that hold an `argparse.Namespace`, which becomes ScriptOptions here.
"""

import io
import math
import mmap
import pickle
import struct
import zipfile
from collections import Counter, OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor, nn

from frex.errors import FRExError
from frex.utils.files import UnreadableFileError, open_regular
from frex.weights.safe_pickle import MALFORMED, MOST_OPCODES, Call, Global, InertUnpickler, as_key

# The largest file that is read, in bytes. Checkpoints and training states of FREx at 512 x 512 are several times smaller.
MOST_FILE_BYTES = 8 << 30
MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
# The first bytes of the text that Git LFS leaves in the place of a file that it has not fetched.
LFS_START = b'version https://git-lfs'
# The first bytes of files before torch 1.6: the pickled magic number.
LEGACY_START = b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'
ZIP_START = b'PK\x03\x04'

# The longest directory of a zip in bytes; it has about a hundred bytes for each tensor.
MOST_DIRECTORY = 4 << 20
# The lengths in bytes of the records after the directory: the end record and, before it in 64-bit zips, the locator and another end record.
END, LOCATOR, END_64 = 22, 20, 56

STORAGES = {
    'DoubleStorage': torch.float64,
    'FloatStorage': torch.float32,
    'HalfStorage': torch.float16,
    'BFloat16Storage': torch.bfloat16,
    'LongStorage': torch.int64,
    'IntStorage': torch.int32,
    'ShortStorage': torch.int16,
    'CharStorage': torch.int8,
    'ByteStorage': torch.uint8,
    'BoolStorage': torch.bool,
    'UntypedStorage': torch.uint8,
}
# The modules of storage classes; `torch.cuda` is that of GPU storages in old versions of torch.
STORAGE_MODULES = ('torch', 'torch.cuda', 'torch.storage')

ORDERED_DICTIONARY = Global('collections', 'OrderedDict')
# The state of torch's MultiStepLR has its milestones in one.
COUNTER = Global('collections', 'Counter')
REBUILT_PARAMETER = Global('torch._utils', '_rebuild_parameter')
# Function that makes a tensor -> its possible numbers of arguments. The second function, and `OLD_PARAMETER`, are in files from before
# torch 0.4, such as torchvision's VGG.
TENSORS = {Global('torch._utils', '_rebuild_tensor_v2'): (6, 7), Global('torch._utils', '_rebuild_tensor'): (4,)}
OLD_PARAMETER = Global('torch.nn.parameter', 'Parameter')
# Checkpoints of rosinality and torchvision hold the options of their training scripts as one of these.
NAMESPACE = Global('argparse', 'Namespace')
KNOWN = {ORDERED_DICTIONARY, COUNTER, REBUILT_PARAMETER, OLD_PARAMETER, NAMESPACE, *TENSORS}

MOST_DIMENSIONS = 8

# The errors that reading raises for damaged files and for files that `torch.save` did not write.
UNREADABLE = (*MALFORMED, OSError, RuntimeError, AssertionError, MemoryError, zipfile.BadZipFile, pickle.UnpicklingError)


@dataclass
class ScriptOptions:
    """Replaces an `argparse.Namespace` in a file; `attributes` are its values by name."""

    attributes: dict[str, Any]


def read_torch_file(path: Path) -> Any:
    """Return the object in a file of `torch.save`, with its tensors on the CPU and without gradient; no code in the file is run.

    An `argparse.Namespace` in it becomes ScriptOptions. Raises FRExError where the file is missing, damaged, not from `torch.save`, or
    holds objects that checkpoints do not have.
    """
    try:
        with open_regular(path) as stream:
            check_file_size(stream.seek(0, io.SEEK_END))
            stream.seek(0)
            start = stream.read(len(LEGACY_START))
            stream.seek(0)
            if start.startswith(ZIP_START):
                return _read_zip(stream)
            if start == LEGACY_START:
                return _read_legacy(stream)
            raise ValueError('torch.save did not write it')
    except UNREADABLE as error:
        raise unreadable_error(path, error) from None


def check_file_size(size: int) -> None:
    """Raise ValueError where the size of a file, in bytes, is above MOST_FILE_BYTES."""
    if size > MOST_FILE_BYTES:
        raise ValueError(f'{size:,} bytes, more than the {MOST_FILE_BYTES:,} that are read')


def unreadable_error(path: Path, error: BaseException) -> FRExError:
    """Return an FRExError of one line for the `error` that reading a weight file raised; it recognises web pages and LFS pointers."""
    if isinstance(error, FRExError):
        return error
    try:
        with open_regular(path) as stream:
            start = stream.read(512).lstrip().lower()
    except OSError as unreadable:
        return UnreadableFileError(path, unreadable.strerror or str(unreadable))
    if start.startswith((b'<!doctype', b'<html')):
        return FRExError(f'{path}: not a file of weights but a web page; download it again')
    if start.startswith(LFS_START):
        return FRExError(f'{path}: not a file of weights but a Git LFS pointer to one; get the file itself with: git lfs pull')
    reason = str(error).strip().splitlines()
    return FRExError(f'{path}: not a file of weights, or a damaged one ({reason[0] if reason else type(error).__name__})')


def _read_zip(stream: BinaryIO) -> Any:
    """Read the format since torch 1.6, a zip; raise one of `UNREADABLE` unless it is well-formed and has every storage in full."""
    size = stream.seek(0, io.SEEK_END)
    if _read_directory_size(stream, size) > MOST_DIRECTORY:
        raise ValueError('its directory is too long')
    with zipfile.ZipFile(stream) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1 for member in members):
            raise ValueError('it is compressed or encrypted, which torch.save does not do')
        # In lower case, because torch's own reader ignores the case of names.
        names = {member.filename.lower() for member in members}
        if sum(member.file_size for member in members) > size or len(names) < len(members):
            raise ValueError('its parts overlap')
        # Reads all members and compares their checksums.
        if archive.testzip() is not None:
            raise ValueError('a checksum is wrong')
        root = members[0].filename.partition('/')[0]
        sizes = {member.filename: member.file_size for member in members}
        if not all(name.startswith(f'{root}/') and '..' not in name.split('/') for name in sizes):
            raise ValueError('a part lies outside of its folder')
        if f'{root}/constants.pkl' in sizes:
            raise ValueError('it is TorchScript, the code of a network')
        if f'{root}/byteorder' in sizes and archive.read(f'{root}/byteorder') != b'little':
            raise ValueError('its numbers are not little-endian')
        unpickler = ObjectUnpickler(io.BytesIO(archive.read(f'{root}/data.pkl')), size)
        saved = unpickler.load()
        for key, storage in unpickler.storages.items():
            storage.fill(archive.read(f'{root}/data/{key}'))
    return saved


def _read_directory_size(stream: BinaryIO, size: int) -> int:
    """Return the length in bytes of a zip's directory, from the records at the end of the file.

    Raises BadZipFile unless the directory ends where these records begin, so that all readers find the same one.
    """
    stream.seek(max(0, size - END_64 - LOCATOR - END))
    records = stream.read()
    end, place = records[-END:], size - END
    signature, length, offset, comment = struct.unpack('<4s8xIIH', end)
    if signature != b'PK\x05\x06' or comment:
        raise zipfile.BadZipFile('its end is missing')
    if records[-END - LOCATOR :].startswith(b'PK\x06\x07'):
        place -= LOCATOR + END_64
        (located,) = struct.unpack('<8xQ4x', records[END_64:-END])
        signature, length, offset = struct.unpack('<4s36xQQ', records[:END_64])
        if signature != b'PK\x06\x06' or located != place:
            raise zipfile.BadZipFile('its end is in two places')
    if offset + length != place:
        raise zipfile.BadZipFile('its directory is not where its end says')
    return int(length)


def _read_legacy(stream: BinaryIO) -> Any:
    """Read the format before torch 1.6; raise one of `UNREADABLE` unless it is well-formed and has every storage in full."""
    with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        magic, protocol, system = (InertUnpickler(content, allow_no_global).load() for _ in range(3))
        if (magic, protocol, system.get('little_endian')) != (MAGIC, PROTOCOL, True):
            raise ValueError('its numbers are not little-endian')
        unpickler = ObjectUnpickler(content, len(content))
        saved = unpickler.load()
        keys = InertUnpickler(content, allow_no_global).load()
        storages = unpickler.storages
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or sorted(keys) != sorted(storages):
            raise ValueError('its tensors differ from its list of tensors')
        for key in keys:
            (count,) = struct.unpack('<q', content.read(8))
            if count != storages[key].count:
                raise ValueError('a tensor is larger or smaller than its part of the file')
            storages[key].fill(content.read(storages[key].length))
    return saved


# --- The pickle of the saved object


@dataclass
class Storage:
    """A storage as the pickle declares it: dtype and number of its values, and their bytes (uint8, on the CPU), which `fill` reads."""

    dtype: torch.dtype
    count: int
    content: Tensor

    @property
    def length(self) -> int:
        """The length in bytes."""
        return self.count * self.dtype.itemsize

    def fill(self, content: bytes) -> None:
        """Copy the storage's bytes from the file; raise ValueError unless there are exactly `length`."""
        if len(content) != self.length:
            raise ValueError('a tensor is larger or smaller than its part of the file')
        self.content.numpy()[:] = np.frombuffer(content, np.uint8)


class ObjectUnpickler(InertUnpickler):
    """Makes the saved object, with tensors that are views of `storages`; these are filled afterwards and have `most_bytes` at most in all.

    A pickle may contain only what state dicts, states of optimizers and schedules, and the options of a script consist of.
    """

    def __init__(self, stream: Any, most_bytes: int) -> None:
        super().__init__(stream, _is_known, self._find_storage)
        self.storages: dict[str, Storage] = {}
        self.bytes_left = most_bytes
        self.items_left = MOST_OPCODES

    def _find_storage(self, reference: Any) -> Storage:
        """Return the storage that a persistent id refers to; it is allocated at the first reference."""
        if not isinstance(reference, tuple) or len(reference) not in (5, 6):
            raise TypeError('a persistent id that names no storage')
        kind, storage, key, _, count, *view = reference
        if kind != 'storage' or not isinstance(key, str) or not isinstance(count, int) or count < 0 or view not in ([], [None]):
            raise ValueError('a persistent id that names no storage')
        if not key.isascii() or not key.isdecimal():
            raise ValueError('a storage whose key is not a number')
        dtype = STORAGES[storage.name]
        length = count * dtype.itemsize
        if key not in self.storages:
            self.bytes_left -= length
            if self.bytes_left < 0:
                raise ValueError('its tensors are larger than the file')
            self.storages[key] = Storage(dtype, count, torch.empty(length, dtype=torch.uint8, device='cpu'))
        if self.storages[key].length != length:
            raise ValueError('a storage of two lengths')
        return Storage(dtype, count, self.storages[key].content)

    def do_reduce(self, _: None) -> None:
        super().do_reduce(None)
        call = self.stack.pop()
        if call.function in TENSORS:
            self.stack.append(_make_tensor(call))
        elif call.function == REBUILT_PARAMETER:
            self.stack.append(_require_tensor(call.arguments[0]))
        elif call.function == OLD_PARAMETER:
            self.stack.append(nn.Parameter(_require_tensor(call.arguments[0]), requires_grad=False))
        elif call.function in (ORDERED_DICTIONARY, COUNTER):
            self.stack.append(self._make_dictionary(call))
        else:
            raise TypeError(f'a call of {call.function.name}')

    def _make_dictionary(self, call: Call) -> dict[Any, Any]:
        """Make an ordered dictionary or a counter: empty, from a dictionary, or as Python 2 writes it from pairs."""
        made: dict[Any, Any] = Counter() if call.function == COUNTER else OrderedDict()
        (items,) = call.arguments or ({},)
        if not isinstance(items, dict) and not (isinstance(items, list) and call.function == ORDERED_DICTIONARY):
            raise TypeError(f'a dictionary of a {type(items).__name__}')
        # Otherwise copying one long dictionary again and again would take forever.
        self.items_left -= len(items)
        if self.items_left < 0:
            raise ValueError('too many items in its dictionaries')
        for key, value in items if isinstance(items, list) else items.items():
            made[as_key(key)] = value
        return made

    def do_newobj(self, _: None) -> None:
        super().do_newobj(None)
        call = self.stack.pop()
        if call.function not in (OLD_PARAMETER, NAMESPACE) or call.arguments != ():
            raise TypeError('an object of a class that checkpoints do not have')
        self.stack.append(ScriptOptions({}) if call.function == NAMESPACE else _make_empty_parameter())

    def do_build(self, _: None) -> None:
        state, made = self.stack.pop(), self.stack[-1]
        if isinstance(made, ScriptOptions) and isinstance(state, dict) and all(isinstance(name, str) for name in state):
            made.attributes = state
        elif type(made) is OrderedDict and isinstance(state, dict) and state.keys() <= {'_metadata'}:
            vars(made).update(state)
        elif isinstance(made, nn.Parameter) and isinstance(state, tuple) and len(state) in (3, 5):
            # The other elements, whether it requires a gradient and its hooks, are ignored.
            if len(state) == 5:
                made.data = _require_tensor(state[0])
        else:
            raise TypeError(f'a state for a {type(made).__name__}')


def _make_tensor(call: Call) -> Tensor:
    """Make the tensor of a pickled call as a view of its storage, which may be filled later.

    Raises ValueError where the tensor does not lie within its storage or has metadata, and TypeError for the wrong number of arguments or
    where the first is no storage.
    """
    if len(call.arguments) not in TENSORS[call.function]:
        raise TypeError('a tensor of too few or too many arguments')
    storage, offset, size, stride, *more = call.arguments
    if not isinstance(storage, Storage):
        raise TypeError('a tensor without storage')
    # After `requires_grad` and hooks comes metadata: whether the values are conjugated or negated, which those of weights are not.
    if any(more[2:]):
        raise ValueError('a tensor with metadata')
    check_inside(offset, size, stride, storage.count)
    return storage.content.view(storage.dtype).as_strided(size, stride, offset)


def _make_empty_parameter() -> nn.Parameter:
    """Return a parameter without values; `do_build` gives it those of the state that follows in the pickle."""
    return nn.Parameter(torch.empty(0, device='cpu'), requires_grad=False)


def _require_tensor(value: Any) -> Tensor:
    """Return `value`; raise TypeError unless it is a tensor."""
    if not isinstance(value, Tensor):
        raise TypeError(f'a {type(value).__name__} instead of a tensor')
    return value


def check_inside(offset: Any, size: Any, stride: Any, count: int) -> None:
    """Raise ValueError unless a tensor of this offset, size and stride has at most `count` values and lies in a storage of `count`."""
    if not isinstance(size, tuple) or not isinstance(stride, tuple) or not len(stride) == len(size) <= MOST_DIMENSIONS:
        raise ValueError('a tensor without size and strides')
    if not all(isinstance(number, int) and number >= 0 for number in (offset, *size, *stride)):
        raise ValueError('sizes of a tensor are not whole numbers')
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if math.prod(size) > count or offset > count or (math.prod(size) and last >= count):
        raise ValueError(f'a tensor of size {size} in a storage of {count}')


def _is_known(named: Global) -> bool:
    """Return whether the saved object may name this class or function: one of KNOWN, or the class of a storage."""
    return named in KNOWN or (named.module in STORAGE_MODULES and named.name in STORAGES)


def allow_no_global(_: Global) -> bool:
    """Return False: a pickle of plain values may name no class or function."""
    return False

"""Files that `torch.save` wrote: looked over first, then read with `weights_only=True`.

`weights_only` keeps a file from running code. It does not keep one from asking for more memory than it has bytes, from
being half a file, from crashing the interpreter, or from meaning one thing to Python's zip reader and another to torch's;
that is checked here.
"""

import io
import math
import mmap
import pickle
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch

from frex.errors import FRExError
from frex.weights.inert_pickle import MALFORMED, MOST_OPCODES, Call, Global, InertUnpickler, as_key

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
# How `torch.save` began files before torch 1.6: the magic number, pickled.
LEGACY_START = b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'
ZIP_START = b'PK\x03\x04'

# The directory at a zip's end has some hundred bytes for each tensor.
MOST_DIRECTORY = 4 << 20
# The records behind it: an end of 22 bytes, and what zips of 64 bits have before that.
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
# With the module's name as it is, or was while storages of GPUs had classes of their own.
STORAGE_MODULES = ('torch', 'torch.cuda', 'torch.storage')

ORDERED_DICTIONARY = Global('collections', 'OrderedDict')
# Milestones of a learning rate's schedule.
COUNTER = Global('collections', 'Counter')
REBUILT_PARAMETER = Global('torch._utils', '_rebuild_parameter')
# The second of these and the next are in files of before torch 0.4, torchvision's VGG among them.
TENSORS = (Global('torch._utils', '_rebuild_tensor_v2'), Global('torch._utils', '_rebuild_tensor'))
OLD_PARAMETER = Global('torch.nn.parameter', 'Parameter')
KNOWN = {ORDERED_DICTIONARY, COUNTER, REBUILT_PARAMETER, OLD_PARAMETER, *TENSORS}

MOST_DIMENSIONS = 8

# What `torch.load` and `zipfile` raise for files that are not theirs, or damaged.
UNREADABLE = (*MALFORMED, OSError, RuntimeError, AssertionError, MemoryError, zipfile.BadZipFile, pickle.UnpicklingError)


def read_torch_file(path: Path) -> Any:
    """What `torch.save` wrote, on the CPU, without unpickling code; raises FRExError for a damaged file and for anything else."""
    if not path.is_file():
        raise FRExError(f'{path}: no such file')
    try:
        _look_over(path)
        return torch.load(path, map_location='cpu', weights_only=True)
    except UNREADABLE as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: BaseException) -> FRExError:
    """One line for whatever reading raised."""
    with path.open('rb') as stream:
        start = stream.read(512).lstrip().lower()
    if start.startswith((b'<!doctype', b'<html')):
        return FRExError(f'{path}: not a file of weights but a web page; download it anew')
    reason = str(error).strip().splitlines()
    return FRExError(f'{path}: not a file of weights, or a damaged one ({reason[0] if reason else type(error).__name__})')


def _look_over(path: Path) -> None:
    """Raise one of UNREADABLE unless every storage that the file names lies in it whole."""
    with path.open('rb') as stream:
        start = stream.read(len(LEGACY_START))
        stream.seek(0)
        if start.startswith(ZIP_START):
            _look_over_zip(stream)
        elif start == LEGACY_START:
            _look_over_legacy(stream)
        else:
            raise ValueError('torch.save did not write it')


def _look_over_zip(stream: BinaryIO) -> None:
    size = stream.seek(0, io.SEEK_END)
    if _directory_size(stream, size) > MOST_DIRECTORY:
        raise ValueError('its directory is too long')
    with zipfile.ZipFile(stream) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1 for member in members):
            raise ValueError('it is compressed or encrypted, which torch.save does not do')
        # torch takes capital and small letters for the same.
        names = {member.filename.lower() for member in members}
        if sum(member.file_size for member in members) > size or len(names) < len(members):
            raise ValueError('its parts overlap')
        # Reads every byte and compares the checksums.
        if archive.testzip() is not None:
            raise ValueError('a checksum is wrong')
        root = members[0].filename.partition('/')[0]
        sizes = {member.filename: member.file_size for member in members}
        if not all(name.startswith(f'{root}/') and '..' not in name.split('/') for name in sizes):
            raise ValueError('a part lies outside of its folder')
        storages = _storages(io.BytesIO(archive.read(f'{root}/data.pkl')))
        if any(sizes.get(f'{root}/data/{key}') != length for key, length in storages.items()):
            raise ValueError('a tensor is larger or smaller than its part of the file')


def _directory_size(stream: BinaryIO, size: int) -> int:
    """Length of a zip's directory, from the records that end the file; it must lie just before them, where every reader finds it."""
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


def _look_over_legacy(stream: BinaryIO) -> None:
    with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for _ in range(3):
            InertUnpickler(content, _nothing).load()
        storages = _storages(content)
        keys = InertUnpickler(content, _nothing).load()
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or sorted(keys) != sorted(storages):
            raise ValueError('its tensors are not those that it lists')
        if sum(storages.values()) > len(content) - content.tell():
            raise ValueError('its tensors are larger than the file')


# --- What the pickle of such a file may say


@dataclass
class Stored:
    """A storage: how many values it has."""

    count: int


class LookOver(InertUnpickler):
    """The pickle of the object itself; `lengths` are the bytes of the storages that it refers to, by their keys.

    It may say only what state dicts, and states of optimizers and schedules, are made of: `weights_only` would also make
    arrays of any size, and hash what is nested too deeply for the interpreter's own stack.
    """

    def __init__(self, stream: Any) -> None:
        super().__init__(stream, _is_known, self._storage)
        self.lengths: dict[str, int] = {}
        self.items_left = MOST_OPCODES

    def _storage(self, reference: Any) -> Stored:
        if not isinstance(reference, tuple) or len(reference) not in (5, 6):
            raise TypeError('a reference to no storage')
        kind, storage, key, _, count, *view = reference
        if kind != 'storage' or not isinstance(key, str) or not isinstance(count, int) or count < 0 or view not in ([], [None]):
            raise ValueError('a reference to no storage')
        length = count * STORAGES[storage.name].itemsize
        if not key.isascii() or not key.isdecimal() or self.lengths.setdefault(key, length) != length:
            raise ValueError('a storage of two lengths, or without a number')
        return Stored(count)

    def do_reduce(self, _: None) -> None:
        super().do_reduce(None)
        function, arguments = self.stack[-1].function, self.stack[-1].arguments
        if function in TENSORS:
            storage, offset, size, stride, *_rest = arguments
            if not isinstance(storage, Stored):
                raise TypeError('a tensor without storage')
            check_inside(offset, size, stride, storage.count)
        elif function in (REBUILT_PARAMETER, OLD_PARAMETER):
            self._check_tensor(arguments[0])
        elif function in (ORDERED_DICTIONARY, COUNTER):
            for items in arguments:
                self._check_items(items, is_paired=function == ORDERED_DICTIONARY)
        else:
            raise TypeError(f'a call of {function.name}')

    def do_newobj(self, _: None) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if function != OLD_PARAMETER or arguments != ():
            raise TypeError('an object of a class')
        self.stack.append(Call(function, arguments))

    def do_build(self, _: None) -> None:
        super().do_build(None)
        function, state = self.stack[-1].function, self.stack[-1].state
        if function == OLD_PARAMETER and isinstance(state, tuple) and len(state) in (3, 5):
            if len(state) == 5:
                self._check_tensor(state[0])
        elif function != ORDERED_DICTIONARY or not isinstance(state, dict) or not state.keys() <= {'_metadata'}:
            raise TypeError('a state of something else than a parameter or a dictionary')

    def _check_items(self, items: Any, is_paired: bool) -> None:
        """Those that a dictionary is made of: another one or, in files of Python 2, pairs."""
        if not isinstance(items, dict) and not (is_paired and isinstance(items, list)):
            raise TypeError(f'a dictionary of a {type(items).__name__}')
        # Many dictionaries made of the same long one would take forever.
        self.items_left -= len(items)
        if self.items_left < 0:
            raise ValueError('dictionaries without end')
        if isinstance(items, list):
            for key, _ in items:
                as_key(key)

    @staticmethod
    def _check_tensor(value: Any) -> None:
        if not isinstance(value, Call) or value.function not in TENSORS:
            raise TypeError(f'a {type(value).__name__} in the place of a tensor')


def _storages(stream: Any) -> dict[str, int]:
    """Bytes of each storage that the stream's next pickle refers to."""
    reader = LookOver(stream)
    reader.load()
    return reader.lengths


def check_inside(offset: Any, size: Any, stride: Any, count: int) -> None:
    """Raise ValueError unless a tensor's values lie in a storage of `count`, and are not more."""
    if not isinstance(size, tuple) or not isinstance(stride, tuple) or not len(stride) == len(size) <= MOST_DIMENSIONS:
        raise ValueError('a tensor without size and strides')
    if not all(isinstance(number, int) and number >= 0 for number in (offset, *size, *stride)):
        raise ValueError('sizes of a tensor are not whole numbers')
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if math.prod(size) > count or offset > count or (math.prod(size) and last >= count):
        raise ValueError(f'a tensor of size {size} in a storage of {count}')


def _is_known(named: Global) -> bool:
    return named in KNOWN or (named.module in STORAGE_MODULES and named.name in STORAGES)


def _nothing(_: Global) -> bool:
    return False

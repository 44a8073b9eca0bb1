"""Files that `torch.save` wrote: looked over first, then read with `weights_only=True`.

`weights_only` keeps a file from running code. It does not keep one from asking for more memory than it has bytes, or from
being half a file; that is checked here.
"""

import io
import mmap
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch

from frex.errors import FRExError
from frex.weights.inert_pickle import MALFORMED, Global, InertUnpickler

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
# How `torch.save` began files before torch 1.6: the magic number, pickled.
LEGACY_START = b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'
ZIP_START = b'PK\x03\x04'

# The directory at a zip's end has some hundred bytes for each tensor.
MOST_DIRECTORY = 16 << 20

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

# What `torch.load` and `zipfile` raise for files that are not theirs, or damaged.
UNREADABLE = (*MALFORMED, OSError, RuntimeError, MemoryError, NotImplementedError, struct.error, zipfile.BadZipFile, pickle.UnpicklingError)


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
        if sum(member.file_size for member in members) > size or len({member.filename for member in members}) < len(members):
            raise ValueError('its parts overlap')
        # Reads every byte and compares the checksums.
        if archive.testzip() is not None:
            raise ValueError('a checksum is wrong')
        root = members[0].filename.partition('/')[0]
        sizes = {member.filename.removeprefix(f'{root}/data/'): member.file_size for member in members}
        storages = _storages(io.BytesIO(archive.read(f'{root}/data.pkl')))
        if any(sizes.get(key) != length for key, length in storages.items()):
            raise ValueError('a tensor is larger or smaller than its part of the file')


def _directory_size(stream: BinaryIO, size: int) -> int:
    """Length of a zip's directory, from the record that ends the file."""
    stream.seek(max(0, size - 22))
    end = stream.read(22)
    if len(end) < 22 or end[:4] != b'PK\x05\x06':
        raise zipfile.BadZipFile('its end is missing')
    (length,) = struct.unpack('<I', end[12:16])
    return size if length == 0xFFFFFFFF else int(length)


def _look_over_legacy(stream: BinaryIO) -> None:
    with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for _ in range(3):
            InertUnpickler(content, _anything).load()
        if sum(_storages(content).values()) > len(content) - content.tell():
            raise ValueError('its tensors are larger than the file')


def _storages(stream: Any) -> dict[str, int]:
    """Bytes of each storage that the stream's next pickle refers to."""
    lengths: dict[str, int] = {}

    def measure(reference: Any) -> None:
        kind, storage, key, _, count, *_ = reference
        if kind != 'storage' or not isinstance(key, str) or not isinstance(count, int) or count < 0:
            raise ValueError(f'a reference to {kind}')
        lengths[key] = max(lengths.get(key, 0), count * STORAGES[storage.name].itemsize)

    InertUnpickler(stream, _anything, measure).load()
    return lengths


def _anything(_: Global) -> bool:
    # Nothing is looked up here, and `weights_only` refuses what it does not know.
    return True

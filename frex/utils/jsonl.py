"""Files with one JSON object per line, to which runs append, one after the other.

Reading skips half a line that a killed process has left, and empty lines, since `append_line` writes the line break first.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from frex.utils.files import read_regular, write_atomically


def append_line(path: Path, value: Any) -> None:
    """Append one object as a line, and create the file where it is missing.

    A line break is written before the object, which then does not continue a line that was cut off, and none after it. Raises OSError,
    which has the name of the file, where it cannot be written.
    """
    try:
        with path.open('ab') as file:
            file.write(b'\n' + encode_line(value))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def encode_line(value: Any) -> bytes:
    """Encode a dictionary or msgspec structure as one line without a line break; numbers may be NaN or infinite, as in Python's json."""
    return json.dumps(msgspec.to_builtins(value), ensure_ascii=False, separators=(',', ':')).encode('utf-8', errors='surrogatepass')


def read_lines(path: Path, kind: Any) -> list[Any]:
    """Return the objects in all complete lines as instances of `kind`, in order; skip lines that are damaged or of another kind.

    Raises MissingFileError where there is no file, and UnreadableFileError where it cannot be read.
    """
    return decode_lines(read_regular(path).split(b'\n'), kind)


def decode_lines(lines: Iterable[bytes], kind: Any) -> list[Any]:
    """Return the objects in `lines` as instances of `kind`, in order; skip lines that are empty, damaged or of another kind."""
    values = []
    for line in lines:
        try:
            values.append(msgspec.convert(json.loads(line.decode('utf-8', errors='surrogatepass')), type=kind))
        except (msgspec.MsgspecError, ValueError):
            continue
    return values


def write_lines(path: Path, values: Iterable[Any]) -> None:
    """Write one line for each of `values` atomically, in the place of a file that is there."""
    with write_atomically(path) as part:
        part.write_bytes(b''.join(encode_line(value) + b'\n' for value in values))

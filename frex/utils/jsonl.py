"""Files of one JSON object a line, which several runs add to; a process that is killed may leave half a line."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from frex.utils.files import replacing


def append_line(path: Path, value: Any) -> None:
    """Add one line at once. It starts with a line break, so that it does not run into one that a kill cut off."""
    with path.open('ab') as file:
        file.write(b'\n' + encode_line(value))


def encode_line(value: Any) -> bytes:
    """A dictionary or a msgspec structure as one line, without a line break; numbers that are not finite are written as Python does."""
    return json.dumps(msgspec.to_builtins(value), ensure_ascii=False, separators=(',', ':')).encode('utf-8', errors='surrogatepass')


def read_lines(path: Path, kind: Any) -> list[Any]:
    """The values of all whole lines, as instances of `kind`; lines that are damaged or of another kind are left out."""
    return decode_lines(path.read_bytes().split(b'\n'), kind)


def decode_lines(lines: Iterable[bytes], kind: Any) -> list[Any]:
    """As `read_lines`, of lines that are read already."""
    values = []
    for line in lines:
        try:
            values.append(msgspec.convert(json.loads(line.decode('utf-8', errors='surrogatepass')), type=kind))
        except (msgspec.MsgspecError, ValueError):
            continue
    return values


def write_lines(path: Path, values: Iterable[Any]) -> None:
    """Replace the file, whole or not at all."""
    with replacing(path) as part:
        part.write_bytes(b''.join(encode_line(value) + b'\n' for value in values))

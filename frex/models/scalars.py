"""The file `scalars.jsonl` of a run, with every logged scalar, one JSON object a line: one for each logged iteration and validation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from frex.options import RunConfig
from frex.utils.jsonl import append_line, read_lines, write_lines


def scalars_path(config: RunConfig) -> Path:
    """Return the path of the file, in the folder of the run."""
    return config.path.root / 'scalars.jsonl'


def append_scalars(path: Path, record: Mapping[str, Any]) -> None:
    """Append one line; `record` has the iteration as `iter`."""
    append_line(path, dict(record))


def read_scalars(path: Path) -> list[dict[str, Any]]:
    """Return the records of all whole lines, in order; raise FRExError where there is no file."""
    return read_lines(path, dict[str, Any])


def forget_scalars_after(path: Path, iteration: int) -> None:
    """Remove the records of iterations after `iteration`, which a run resumed there does again; without a file do nothing."""
    if path.exists():
        write_lines(path, [record for record in read_scalars(path) if record['iter'] <= iteration])

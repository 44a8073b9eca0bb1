"""`scalars.jsonl` of a run: every scalar that is logged, one JSON object a line."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from frex.utils.jsonl import append_line, read_lines, write_lines


def scalars_path(opt: Mapping[str, Any]) -> Path:
    """The file, in the folder of the run whose options are `opt`."""
    return Path(opt['path']['experiments_root' if opt['is_train'] else 'results_root']) / 'scalars.jsonl'


def append_scalars(path: Path, record: Mapping[str, Any]) -> None:
    """Add one line; `record` has the iteration as `iter`."""
    append_line(path, dict(record))


def read_scalars(path: Path) -> list[dict[str, Any]]:
    """The records of all whole lines."""
    return read_lines(path, dict[str, Any])


def forget_scalars_after(path: Path, iteration: int) -> None:
    """Take out what a run that is resumed at `iteration` does again."""
    if path.exists():
        write_lines(path, [record for record in read_scalars(path) if record['iter'] <= iteration])

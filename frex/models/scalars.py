"""`scalars.jsonl` of a run: every scalar that is logged, one JSON object a line."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from frex.files import replacing


def scalars_path(opt: Mapping[str, Any]) -> Path:
    """In the folder of the run."""
    return Path(opt['path']['experiments_root' if opt['is_train'] else 'results_root']) / 'scalars.jsonl'


def append_scalars(path: Path, record: Mapping[str, Any]) -> None:
    """Add one line."""
    with path.open('a', encoding='utf-8') as file:
        file.write(json.dumps(record) + '\n')


def read_scalars(path: Path) -> list[dict[str, Any]]:
    """All whole lines; the last one of a killed process may be half of one."""
    records = []
    for line in path.read_text(encoding='utf-8').splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            continue
    return records


def forget_scalars_after(path: Path, iteration: int) -> None:
    """Take out what a resumed run does again."""
    if path.exists():
        kept = [record for record in read_scalars(path) if record['iter'] <= iteration]
        with replacing(path) as part:
            part.write_text(''.join(json.dumps(record) + '\n' for record in kept), encoding='utf-8')

"""What a method's run cost, as `frex peers` records it in `run.json` beside or above its pictures."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from frex.errors import FRExError

RECORD = 'run.json'


@dataclass(frozen=True)
class Cost:
    """`peak_memory` is in bytes, by where it lies: host, GPU. `timing` says what was timed: network, or command with all that it does."""

    seconds_a_face: float | None
    peak_memory: Mapping[str, int]
    timing: str


def read_cost(folders: Sequence[Path]) -> Cost | None:
    """Of a method's runs: mean time, greatest memory; None where none is recorded. Raises FRExError for a damaged record."""
    costs = [cost for cost in map(_read, folders) if cost is not None]
    if not costs:
        return None
    seconds = [cost.seconds_a_face for cost in costs if cost.seconds_a_face is not None]
    places = dict.fromkeys(place for cost in costs for place in cost.peak_memory)
    most = {place: max(cost.peak_memory.get(place, 0) for cost in costs) for place in places}
    return Cost(sum(seconds) / len(seconds) if seconds else None, most, costs[0].timing)


def _read(folder: Path) -> Cost | None:
    path = next((path for path in (folder / RECORD, folder.absolute().parent / RECORD) if path.is_file()), None)
    if path is None:
        return None
    try:
        record = json.loads(path.read_text(encoding='utf-8'))
        seconds = record.get('seconds_a_face')
        memory = record.get('peak_memory_bytes') or {}
        peak = {str(place): int(size) for place, size in memory.items()}
        return Cost(None if seconds is None else float(seconds), peak, str(record.get('timing', 'network')))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise FRExError(f'{path}: not the record of a run ({error!r}); move it away') from None

"""What a method's run cost, as `frex peers` records it in `run.json` beside or above its images."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frex.errors import FRExError

RECORD = 'run.json'
# What was timed.
TIMED = {'network': 'the network alone', 'command': 'the whole command, starting and loading included'}


@dataclass(frozen=True)
class Cost:
    """No time where it is of different things. `peak_memory` is in bytes, by where it lies: host, GPU.

    `timings` say what was timed, `network` or `command`; `measured` in words what, where and with what; of several runs all that differ.
    """

    seconds_a_face: float | None
    peak_memory: Mapping[str, int]
    timings: tuple[str, ...]
    measured: tuple[str, ...]


def read_cost(folders: Sequence[Path]) -> Cost | None:
    """Of a method's runs: mean time, greatest memory; None where none is recorded. Raises FRExError for a damaged record."""
    costs = [cost for cost in map(_read, folders) if cost is not None]
    if not costs:
        return None
    seconds = [cost.seconds_a_face for cost in costs if cost.seconds_a_face is not None]
    places = dict.fromkeys(place for cost in costs for place in cost.peak_memory)
    most = {place: max(cost.peak_memory.get(place, 0) for cost in costs) for place in places}
    timings = _all_that_differ(cost.timings for cost in costs)
    mean = sum(seconds) / len(seconds) if seconds and len(timings) == 1 else None
    return Cost(mean, most, timings, _all_that_differ(cost.measured for cost in costs))


def _read(folder: Path) -> Cost | None:
    path = next((path for path in (folder / RECORD, folder.absolute().parent / RECORD) if path.is_file()), None)
    if path is None:
        return None
    try:
        record = json.loads(path.read_text(encoding='utf-8'))
        seconds = record.get('seconds_a_face')
        peak = {str(place): int(size) for place, size in (record.get('peak_memory_bytes') or {}).items()}
        timing = str(record.get('timing', 'network'))
        return Cost(None if seconds is None else float(seconds), peak, (timing,), (_measured(timing, record),))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise FRExError(f'{path}: not the record of a run ({error!r}); move it away') from None


def _measured(timing: str, record: Mapping[str, Any]) -> str:
    versions = ', '.join(f'{package} {version}' for package, version in (record.get('versions') or {}).items())
    return '; '.join(filter(None, (TIMED.get(timing, timing), record.get('device') or 'on a device that is not recorded', versions)))


def _all_that_differ(kinds: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each for kind in kinds for each in kind))

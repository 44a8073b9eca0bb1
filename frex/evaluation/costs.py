"""Read the time and memory of a method's runs from the `run.json` of `frex peers`, which lies in the folder of the images or its parent."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frex.errors import FRExError
from frex.utils.files import read_regular

RECORD = 'run.json'
# The values of `timing` in run.json, in words.
TIMING_TITLES = {'network': 'the network alone', 'command': 'the whole command, starting and loading included'}


@dataclass(frozen=True)
class Cost:
    """Time and memory of a method, over all its runs.

    `seconds_a_face` is None where no run recorded it, or where the runs timed different things. `peak_memory` is in bytes, by `host`
    and `GPU`, where known. `timings` says what was timed, `network` or `command`, and `measured` describes what was timed, on which
    device and with which package versions; both list the distinct values of all runs.
    """

    seconds_a_face: float | None
    peak_memory: Mapping[str, int]
    timings: tuple[str, ...]
    measured: tuple[str, ...]


def read_cost(folders: Sequence[Path]) -> Cost | None:
    """Return the cost of a method whose runs are in `folders`: the mean of the runs' times, the greatest of their memory.

    Returns None where no run has a record. Raises FRExError for a damaged record.
    """
    costs = [cost for cost in map(_read_folder_cost, folders) if cost is not None]
    if not costs:
        return None
    seconds = [cost.seconds_a_face for cost in costs if cost.seconds_a_face is not None]
    memories = dict.fromkeys(memory for cost in costs for memory in cost.peak_memory)
    peak = {memory: max(cost.peak_memory.get(memory, 0) for cost in costs) for memory in memories}
    timings = _merge_distinct(cost.timings for cost in costs)
    mean = sum(seconds) / len(seconds) if seconds and len(timings) == 1 else None
    return Cost(mean, peak, timings, _merge_distinct(cost.measured for cost in costs))


def _read_folder_cost(folder: Path) -> Cost | None:
    """Read the cost of one run from `run.json` in `folder` or, where it is missing there, in the parent of `folder`.

    Returns None where neither folder has the file. Raises FRExError where the file is damaged.
    """
    path = next((path for path in (folder / RECORD, folder.absolute().parent / RECORD) if path.is_file()), None)
    if path is None:
        return None
    try:
        record = json.loads(read_regular(path))
        seconds = record.get('seconds_a_face')
        peak = {str(memory): int(size) for memory, size in (record.get('peak_memory_bytes') or {}).items()}
        timing = str(record.get('timing', 'network'))
        return Cost(None if seconds is None else float(seconds), peak, (timing,), (_describe_measurement(timing, record),))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise FRExError(f'{path}: not the record of a run ({error!r}); move it away') from None


def _describe_measurement(timing: str, record: Mapping[str, Any]) -> str:
    """Return one line: what was timed, the device, and the package versions in `record`."""
    versions = ', '.join(f'{package} {version}' for package, version in (record.get('versions') or {}).items())
    return '; '.join(
        filter(None, (TIMING_TITLES.get(timing, timing), record.get('device') or 'on a device that is not recorded', versions))
    )


def _merge_distinct(entry_lists: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the distinct entries of all tuples, in order of first appearance."""
    return tuple(dict.fromkeys(entry for entries in entry_lists for entry in entries))

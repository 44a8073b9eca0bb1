"""How each method went, for people."""

import sys
from collections.abc import Mapping

from frex.errors import one_line
from frex.peers.records import Entry

PLACES = ('host', 'GPU')
OF_COMMANDS = 'time with its start; memory of its largest process, GPU not measured'


def tell(name: str, entry: Entry) -> None:
    """On standard error: why a method was not run, and the faces that it made nothing of."""
    if entry.problem:
        print(f'{name}: {entry.problem}', file=sys.stderr)
    for face, reason in (entry.run.missing if entry.run else {}).items():
        print(f'{name}: {face}: {one_line(reason)}', file=sys.stderr)


def table(entries: Mapping[str, Entry]) -> list[list[str]]:
    """A row a method, after that of titles."""
    rows = [['method', 'faces', 'seconds a face', *(f'{place} memory' for place in PLACES), '']]
    for name, entry in entries.items():
        run = entry.run
        if run is None:
            rows.append([name, '-', '-', '-', '-', 'not run'])
            continue
        note = OF_COMMANDS if run.timing == 'command' else ''
        seconds = '-' if run.seconds_a_face is None else f'{run.seconds_a_face:.3f}'
        made = f'{run.faces - len(run.missing)} of {run.faces}'
        rows.append([name, made, seconds, *(_gigabytes(run.peak_memory_bytes.get(place)) for place in PLACES), note])
    return rows


def _gigabytes(number: int | None) -> str:
    return '-' if number is None else f'{number / 1e9:.2f} GB'

"""Reading and writing `report.json`."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout

from frex.errors import FRExError, one_line
from frex.files import replacing
from frex.restore.runs.report import STATUSES, PictureRecord, Report, Run, results_of

REPORT = 'report.json'
LOCK_SECONDS = 120


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Only one process at a time is in here; makes the folder. Raises FRExError for what cannot be written in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f'.{REPORT}.lock', timeout=LOCK_SECONDS):
            yield
    except (OSError, NotImplementedError, Timeout) as error:
        raise FRExError(f'{folder / REPORT}: cannot be written ({error})') from None


def read_report(folder: Path) -> Report:
    """An empty one where there is none; raises FRExError where the file is none of this program's."""
    path = folder / REPORT
    try:
        return msgspec.json.decode(path.read_bytes(), type=Report)
    except FileNotFoundError:
        return Report(version=1)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        reason = one_line(str(error))
        raise FRExError(f'{path}: not a report of this program ({reason}); move it away, or give another --output') from None


def write_report(folder: Path, report: Report) -> None:
    """To be called in `locked`."""
    with replacing(folder / REPORT) as part:
        part.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))


def join(report: Report, word: str, process: int, run: Run, records: Sequence[PictureRecord], finished: bool) -> None:
    """Add to `report` what process number `process` of the run called `word` did; `finished`: it has come to its end.

    `run` tells of this process alone; the report counts `records`. One that is finished already is not counted again.
    """
    known = report.runs.get(word) or msgspec.structs.replace(run, finished=[], pictures=dict.fromkeys(STATUSES, 0), faces=0, skipped={})
    if process in known.finished:
        return
    known.started, known.ended = min(known.started, run.started), max(known.ended, run.ended)
    known.finished = sorted({*known.finished, process}) if finished else known.finished
    pictures = {record.input: record for record in report.pictures}
    owners = {file: record.input for record in report.pictures for file in results_of(record)}
    for record in records:
        record.run = word
        _count(known, record)
        if record.status != 'skipped' or record.input not in pictures:
            pictures[record.input] = record
        # What was written over is another picture's no more.
        for other in {owners.get(file, record.input) for file in results_of(record)} - {record.input}:
            pictures.pop(other, None)
    report.pictures = sorted(pictures.values(), key=lambda record: record.input)
    used = {record.run for record in report.pictures}
    runs = report.runs | {word: known}
    # Runs that only skipped, day after day, are not kept.
    report.runs = {name: one for name, one in runs.items() if name == word or name in used or len(one.finished) < one.processes}


def _count(run: Run, record: PictureRecord) -> None:
    run.pictures[record.status] += 1
    if record.status == 'restored':
        run.faces += sum(face.reason is None for face in record.faces)
    if record.status == 'skipped' and record.reason is not None:
        run.skipped = dict(Counter(run.skipped) + Counter([record.reason]))

"""Record what each process of a run has done, so that nothing is lost when it is killed.

A process appends the record of each image to its journal, a file in the output folder, and merges the journal into the report when it
ends. While it lives it holds a lock. The next run merges the journals of processes that were killed, and removes their files.
A process is known by its id, RUN-RANK: the id of the run and the number of the process in it.
"""

import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
from filelock import FileLock, Timeout
from tqdm import tqdm

from frex.errors import FRExError
from frex.restore.folder.report import ImageRecord, Report, Run, lock_report, merge_records, read_report, write_report
from frex.utils.files import MissingFileError, describe_special, read_regular
from frex.utils.sharding import Shard


class Heading(msgspec.Struct):
    """The first line of a journal: `word` is the id of the run, `process` the number of the process. Each other line is a record."""

    word: str
    process: int
    run: Run


class Journal:
    """The journal of this process, with a progress bar; only one thread may use it. Its lines survive when the process is killed.

    `run` is the id of the run, `settings` its options for the report, and `total` the number of images of this process. `passed_over` are
    the files in input folders that are not images, by their absolute names, with the reason.
    """

    def __init__(
        self,
        folder: Path,
        shard: Shard,
        run: str,
        settings: Mapping[str, Any],
        total: int,
        passed_over: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.started = time.time()
        self.faces = 0
        described = Run(
            settings=dict(settings),
            started=self.started,
            ended=self.started,
            processes=shard.count,
            passed_over=dict(passed_over or {}),
        )
        heading = Heading(run, shard.index, described)
        with lock_report(folder):
            self.lock = RunLock(folder, f'{run}-{shard.index}')
            # Unbuffered, so that a line is either written or not.
            self.file = self.lock.journal.open('wb', buffering=0)
            self.file.write(msgspec.json.encode(heading) + b'\n')
        # Only the first process shows a bar, and only on a terminal.
        self.bar = tqdm(total=total, unit='image', disable=None if shard.index == 0 else True)

    def __enter__(self) -> 'Journal':
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.bar.close()
        self.file.close()
        # After an error the journal is still there; the next run merges it into the report.
        self.lock.end(tidied=not self.lock.journal.exists())

    def add(self, record: ImageRecord) -> None:
        """Append a record to the journal; raise FRExError where it cannot be written."""
        try:
            self.file.write(msgspec.json.encode(record) + b'\n')
        except OSError as error:
            raise FRExError(f'{self.lock.journal}: cannot be written ({error.strerror})') from error
        if record.status == 'restored':
            self.faces += sum(face.reason is None for face in record.faces)
        rate = self.faces / max(time.time() - self.started, 1e-3)
        self.bar.set_postfix_str(f'{self.faces} faces, {rate:.2g} faces/s', refresh=False)
        self.bar.update()

    def merge_into_report(self, finished: bool) -> Report:
        """Merge the journal into the report, remove it, and return the report; nothing may be added afterwards.

        `finished` says that the process has handled all of its images.
        """
        with lock_report(self.folder):
            report = read_report(self.folder)
            merge_journal(report, self.lock.journal, finished)
            write_report(self.folder, report)
            self.lock.journal.unlink()
        return report


def merge_journal(report: Report, path: Path, finished: bool) -> None:
    """Add the records of the journal `path` to `report`.

    A missing or empty journal adds nothing. An incomplete last line is ignored.
    """
    try:
        lines = read_regular(path).split(b'\n')[:-1]
    except MissingFileError:
        return
    if not lines:
        return
    heading = msgspec.json.decode(lines[0], type=Heading)
    decoder = msgspec.json.Decoder(ImageRecord)
    ended = max(heading.run.started, path.stat().st_mtime)
    run = msgspec.structs.replace(heading.run, ended=ended)
    merge_records(report, heading.word, heading.process, run, [decoder.decode(line) for line in lines[1:]], finished)


PREFIX, LOCK, JOURNAL = '.run-', '.lock', '.jsonl'


class RunLock:
    """A lock in the output folder that a process holds as long as it lives. It must be made while `lock_report` is held.

    `journal` is the path of the process's journal.
    """

    def __init__(self, folder: Path, process_id: str) -> None:
        self.journal = folder / f'{PREFIX}{process_id}{JOURNAL}'
        self._lock = FileLock(_lock_file(folder, process_id), timeout=0)
        self._lock.acquire()

    def end(self, tidied: bool) -> None:
        """Release the lock; with `tidied`, nothing is left for the next run to clean up, and the lock's file is removed."""
        if tidied:
            Path(self._lock.lock_file).unlink(missing_ok=True)
        self._lock.release()


def _lock_file(folder: Path, process_id: str) -> Path:
    return folder / f'{PREFIX}{process_id}{LOCK}'


def unfinished_process_ids(folder: Path) -> Iterator[str]:
    """Yield the ids of the processes that still run, and of those that were killed."""
    for path in sorted(folder.glob(f'{PREFIX}*{LOCK}')):
        yield path.name.removeprefix(PREFIX).removesuffix(LOCK)


def journal_paths(folder: Path, process_ids: Iterable[str]) -> Iterator[Path]:
    """Yield the paths of the journals of processes; a file may be missing."""
    yield from (folder / f'{PREFIX}{process_id}{JOURNAL}' for process_id in process_ids)


def is_alive(folder: Path, process_id: str) -> bool:
    """Return whether a process still holds its lock."""
    lock = FileLock(_lock_file(folder, process_id), timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return True
    lock.release()
    return False


def remove_process_files(folder: Path, process_id: str) -> None:
    """Remove the journal and the lock of a process that was killed."""
    for suffix in (JOURNAL, LOCK):
        (folder / f'{PREFIX}{process_id}{suffix}').unlink(missing_ok=True)


# Start of the names of claims: see `Outputs`.
CLAIM = '.claim-'
# Names of incomplete files, as `frex.utils.files.write_atomically` makes them.
PARTIAL_FILE = re.compile(r'.*\.[0-9a-f]{8}\.part')


def recover_crashed_runs(folder: Path, folders: Iterable[Path]) -> None:
    """Clean up in the output folder after processes that were killed; raise FRExError where it cannot be written.

    Their journals are merged into the report and their claims are removed. Incomplete files in `folder`, in `folders` and below these
    are removed where no other run may be writing them.
    """
    if not any(next(folder.glob(f'{start}*'), None) for start in (PREFIX, CLAIM)):
        return
    with lock_report(folder):
        process_ids = list(unfinished_process_ids(folder))
        alive = {process_id for process_id in process_ids if is_alive(folder, process_id)}
        _remove_claims(folder, alive)
        dead = [process_id for process_id in process_ids if process_id not in alive]
        if not dead:
            return
        report = read_report(folder)
        for journal in journal_paths(folder, dead):
            merge_journal(report, journal, finished=False)
        write_report(folder, report)
        for journal in journal_paths(folder, dead):
            journal.unlink(missing_ok=True)
        if not alive:
            _remove_partial_files([folder, *folders])
            for process_id in dead:
                remove_process_files(folder, process_id)


def _remove_claims(folder: Path, alive: Collection[str]) -> None:
    for claim in folder.glob(f'{CLAIM}*'):
        if describe_special(claim):
            continue
        # An empty claim is just being written, unless no process is alive that could write it.
        if not alive or claim.read_text() not in {'', *alive}:
            claim.unlink(missing_ok=True)


def _remove_partial_files(folders: Iterable[Path]) -> None:
    output, *result_folders = folders
    for path in [*output.glob('*.part'), *(part for folder in result_folders for part in folder.rglob('*.part'))]:
        if PARTIAL_FILE.fullmatch(path.name):
            path.unlink(missing_ok=True)


def read_combined_report(folder: Path) -> Report:
    """Return the report, with what unfinished processes have done so far; raise FRExError where the file is not a report."""
    report = read_report(folder)
    for journal in journal_paths(folder, unfinished_process_ids(folder)):
        merge_journal(report, journal, finished=False)
    return report

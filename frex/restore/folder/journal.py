"""Record what each process of a run does, so that nothing is lost when it is killed.

A process appends to its journal, a file in the output folder: a record of each image before its first result is written, and another when
it is done. It merges the journal into the report when it ends. The journal of a process that was killed is merged by a later run: an image
that was begun but not done then counts as interrupted. While a process lives it holds a lock, by which others see that it does. A process
is known by its id, RUN-RANK: the id of the run and the number of the process in it.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
from filelock import FileLock, Timeout
from tqdm import tqdm

from frex.errors import FRExError
from frex.restore.folder.report import ImageRecord, Run, count_faces, is_interrupted, lock_report
from frex.restore.folder.report_index import ReportIndex
from frex.utils.files import MissingFileError, open_regular
from frex.utils.sharding import Shard


class Heading(msgspec.Struct):
    """The first line of a journal: `word` is the id of the run, `process` the number of the process. Each other line is a record."""

    word: str
    process: int
    run: Run


class Journal:
    """The journal of this process, with a progress bar; only one thread may use it. Its lines survive when the process is killed.

    `run` is the id of the run, `settings` its options for the report, and `total` the number of images of this process. `passed_over` are
    the files in input folders that are not images, by their absolute names, with the reason. The folder is made where it is missing.
    Raises FRExError where it cannot be written or locked. A `with` block ends the journal; without `merge_into_report` its file remains,
    and the next run merges it.
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
        self.folder, self.run, self.settings = folder, run, settings
        self.process_id = f'{run}-{shard.index}'
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
            self.lock = RunLock(folder, self.process_id)
            with self._describe_errors():
                self.file = self.lock.journal.open('wb')
            self._append(heading)
        # Only the first process shows a bar, and only on a terminal.
        self.bar = tqdm(total=total, unit='image', disable=None if shard.index == 0 else True)

    def __enter__(self) -> 'Journal':
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.bar.close()
        # It still holds what a full disk did not take, which is closed all the same.
        with suppress(OSError):
            self.file.close()
        # After an error the journal is still there; the next run merges it into the report.
        self.lock.end(tidied=not self.lock.journal.exists())

    def begin(self, record: ImageRecord) -> None:
        """Append the record of an image that is begun, made by `make_interrupted_record`; raise FRExError where it cannot be written."""
        self._append(record)

    def _append(self, value: Heading | ImageRecord) -> None:
        """Write a line to the file at once, so that it is not lost when the process is killed.

        What the disk does not take stays in the buffer. It is written before the next line, which thus never continues a cut one.
        """
        with self._describe_errors():
            self.file.write(msgspec.json.encode(value) + b'\n')
            self.file.flush()

    @contextmanager
    def _describe_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise FRExError(f'{self.lock.journal}: cannot be written ({error.strerror})') from error

    def add(self, record: ImageRecord) -> None:
        """Append the record of an image that is done; raise FRExError where it cannot be written."""
        self.begin(record)
        if record.status == 'restored':
            self.faces += count_faces(record)
        rate = self.faces / max(time.time() - self.started, 1e-3)
        self.bar.set_postfix_str(f'{self.faces} faces, {rate:.2g} faces/s', refresh=False)
        self.bar.update()

    def merge_into_report(self, finished: bool) -> ReportIndex:
        """Merge the journal into the report, remove it, and return the report; nothing may be added afterwards.

        `finished` says that the process has handled all of its images. Images that were begun but not done are left out. Raises FRExError
        where the report is damaged or cannot be written.
        """
        with lock_report(self.folder):
            report = ReportIndex.read(self.folder)
            merge_journal(report, self.lock.journal, finished)
            report.write(self.folder, self.run)
            self.lock.journal.unlink()
        return report


class JournalReader:
    """Reads a journal while its process may still append to it.

    `heading` is None where there is no complete first line. Where that line is damaged, it is made of the name and the time of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read_bytes = 0
        first = next(self._lines(), None)
        self.heading = None if first is None else self._decode_heading(first)

    def read_records(self) -> Iterator[ImageRecord]:
        """Yield the records that were appended since the last call; `run` is set. Damaged lines are left out.

        An incomplete last line is left for a later call.
        """
        if self.heading is None:
            return
        for line in self._lines():
            try:
                record = _decoder.decode(line)
            except ValueError:
                continue
            record.run = self.heading.word
            yield record

    def _decode_heading(self, line: bytes) -> Heading:
        try:
            return msgspec.json.decode(line, type=Heading)
        except ValueError:
            word, _, process = self.path.name.removeprefix(PREFIX).removesuffix(JOURNAL).rpartition('-')
            changed = self.path.stat().st_mtime
            return Heading(word, int(process), Run(started=changed, ended=changed))

    def _lines(self) -> Iterator[bytes]:
        try:
            file = open_regular(self.path)
        except MissingFileError:
            return
        with file:
            file.seek(self._read_bytes)
            for line in file:
                if not line.endswith(b'\n'):
                    return
                self._read_bytes += len(line)
                yield line


_decoder = msgspec.json.Decoder(ImageRecord)


def merge_journal(report: ReportIndex, path: Path, finished: bool, killed: bool = False) -> None:
    """Add the records of the journal `path` to `report`, and count them in its run.

    `finished` says that the process has handled all of its images; a process that has finished before is not counted again. Only of a
    process that was `killed` are images added that were begun but not done: some of their results may be there. A missing or empty
    journal adds nothing.
    """
    reader = JournalReader(path)
    heading = reader.heading
    if heading is None:
        return
    run = report.runs.get(heading.word) or heading.run
    if heading.process in run.finished:
        return
    report.runs[heading.word] = run
    run.started, run.ended = min(run.started, heading.run.started), max(run.ended, heading.run.started, path.stat().st_mtime)
    run.passed_over |= heading.run.passed_over
    run.finished = sorted({*run.finished, heading.process}) if finished else run.finished
    for record in _records_to_merge(reader, killed):
        _count_record(run, record)
        report.add(record)


def _records_to_merge(reader: JournalReader, killed: bool) -> Iterator[ImageRecord]:
    """Yield the records of images that are done and, with `killed`, of those that were begun only."""
    begun: dict[str, ImageRecord] = {}
    for record in reader.read_records():
        if is_interrupted(record):
            begun[record.input] = record
        else:
            begun.pop(record.input, None)
            yield record
    yield from begun.values() if killed else ()


def _count_record(run: Run, record: ImageRecord) -> None:
    """Add an image to the counts of `run`: by its status, its faces where it is restored, and the reason where it is skipped."""
    run.images[record.status] += 1
    if record.status == 'restored':
        run.faces += count_faces(record)
    if record.status == 'skipped' and record.reason is not None:
        run.skipped[record.reason] = run.skipped.get(record.reason, 0) + 1


PREFIX, LOCK, JOURNAL = '.run-', '.lock', '.jsonl'


class RunLock:
    """A lock in the output folder that a process holds as long as it lives. It must be made while `lock_report` is held.

    `journal` is the path of the process's journal.
    """

    def __init__(self, folder: Path, process_id: str) -> None:
        self.journal = journal_path(folder, process_id)
        self._lock = FileLock(_lock_file(folder, process_id), timeout=0)
        self._lock.acquire()

    def end(self, tidied: bool) -> None:
        """Release the lock; with `tidied`, nothing is left for the next run to clean up, and the lock's file is removed."""
        if tidied:
            Path(self._lock.lock_file).unlink(missing_ok=True)
        self._lock.release()


def _lock_file(folder: Path, process_id: str) -> Path:
    return folder / f'{PREFIX}{process_id}{LOCK}'


def journal_path(folder: Path, process_id: str) -> Path:
    """Return the path of the journal of a process; the file may be missing."""
    return folder / f'{PREFIX}{process_id}{JOURNAL}'


def unfinished_process_ids(folder: Path) -> Iterator[str]:
    """Yield the ids of the processes that still run, and of those that were killed or met an error before merging their journal."""
    for path in sorted(folder.glob(f'{PREFIX}*{LOCK}')):
        yield path.name.removeprefix(PREFIX).removesuffix(LOCK)


def is_alive(folder: Path, process_id: str) -> bool:
    """Return whether a process still holds its lock."""
    path = _lock_file(folder, process_id)
    lock = FileLock(path, timeout=0)
    try:
        # A lock that is gone is not made anew.
        if path.exists():
            lock.acquire()
            lock.release()
    except Timeout:
        return True
    return False


def remove_process_files(folder: Path, process_id: str) -> None:
    """Remove the journal and the lock of a process that was killed."""
    for path in (journal_path(folder, process_id), _lock_file(folder, process_id)):
        path.unlink(missing_ok=True)

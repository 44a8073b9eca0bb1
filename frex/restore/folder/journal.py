"""What one process did so far: counted, shown on a bar, and written down. At its end all goes to the report."""

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
from frex.restore.folder.report import PictureRecord, Report, Run, join, locked, read_report, write_report
from frex.utils.sharding import Shard


class Heading(msgspec.Struct):
    """A journal's first line. The others are records, one each."""

    word: str
    process: int
    run: Run


class Journal:
    """Takes the records of images; one thread uses it. What it wrote outlives a process that is killed."""

    def __init__(self, folder: Path, share: Shard, run: str, settings: Mapping[str, Any], total: int) -> None:
        self.folder = folder
        self.started = time.time()
        self.faces = 0
        heading = Heading(run, share.index, Run(settings=dict(settings), started=self.started, ended=self.started, processes=share.count))
        with locked(folder):
            self.presence = RunLock(folder, f'{run}-{share.index}')
            # Unbuffered, so that a line is either written or not.
            self.file = self.presence.journal.open('wb', buffering=0)
            self.file.write(msgspec.json.encode(heading) + b'\n')
        # A bar only on a terminal, and only one.
        self.bar = tqdm(total=total, unit='picture', disable=None if share.index == 0 else True)

    def __enter__(self) -> 'Journal':
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.bar.close()
        self.file.close()
        # What is left here by an error, the next run puts into the report.
        self.presence.end(tidied=not self.presence.journal.exists())

    def add(self, record: PictureRecord) -> None:
        """Write a record down; raises FRExError where that fails."""
        try:
            self.file.write(msgspec.json.encode(record) + b'\n')
        except OSError as error:
            raise FRExError(f'{self.presence.journal}: cannot be written ({error.strerror})') from error
        if record.status == 'restored':
            self.faces += sum(face.reason is None for face in record.faces)
        rate = self.faces / max(time.time() - self.started, 1e-3)
        self.bar.set_postfix_str(f'{self.faces} faces, {rate:.2g} faces/s', refresh=False)
        self.bar.update()

    def merge_into_report(self, finished: bool) -> Report:
        """Put all into the report, which is the answer; `finished`: the process has come to its end. Nothing is added later."""
        with locked(self.folder):
            report = read_report(self.folder)
            join_journal(report, self.presence.journal, finished)
            write_report(self.folder, report)
            self.presence.journal.unlink()
        return report


def join_journal(report: Report, path: Path, finished: bool) -> None:
    """Add to `report` what a journal tells; nothing where there is none, or none yet. A last line cut short is left out."""
    try:
        lines = path.read_bytes().split(b'\n')[:-1]
    except FileNotFoundError:
        return
    if not lines:
        return
    heading = msgspec.json.decode(lines[0], type=Heading)
    decoder = msgspec.json.Decoder(PictureRecord)
    ended = max(heading.run.started, path.stat().st_mtime)
    run = msgspec.structs.replace(heading.run, ended=ended)
    join(report, heading.word, heading.process, run, [decoder.decode(line) for line in lines[1:]], finished)


PREFIX, LOCK, JOURNAL = '.run-', '.lock', '.jsonl'


class RunLock:
    """A lock that a process holds as long as it lives. `word`: its own in `folder`. To be made under the report's lock."""

    def __init__(self, folder: Path, word: str) -> None:
        self.word, self.journal = word, folder / f'{PREFIX}{word}{JOURNAL}'
        self._lock = FileLock(_lock_file(folder, word), timeout=0)
        self._lock.acquire()

    def end(self, tidied: bool) -> None:
        """Let go of the lock; `tidied`: nothing is left for the next run to clear up."""
        if tidied:
            Path(self._lock.lock_file).unlink(missing_ok=True)
        self._lock.release()


def _lock_file(folder: Path, word: str) -> Path:
    return folder / f'{PREFIX}{word}{LOCK}'


def stale_run_ids(folder: Path) -> Iterator[str]:
    """Of the runs that have not ended in good order."""
    for path in sorted(folder.glob(f'{PREFIX}*{LOCK}')):
        yield path.name.removeprefix(PREFIX).removesuffix(LOCK)


def journals_of(folder: Path, words: Iterable[str]) -> Iterator[Path]:
    """The files that those runs write; there need not be one."""
    yield from (folder / f'{PREFIX}{word}{JOURNAL}' for word in words)


def is_alive(folder: Path, word: str) -> bool:
    """Whether a process holds that lock."""
    lock = FileLock(_lock_file(folder, word), timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return True
    lock.release()
    return False


def remove_run_files(folder: Path, word: str) -> None:
    """Remove the files of a dead run."""
    for end in (JOURNAL, LOCK):
        (folder / f'{PREFIX}{word}{end}').unlink(missing_ok=True)


CLAIM = '.claim-'
# As `frex.utils.files.replacing` names them.
HALF_FILE = re.compile(r'.*\.[0-9a-f]{8}\.part')


def recover_crashed_runs(folder: Path, folders: Iterable[Path]) -> None:
    """Half files in `folders`, and below, are removed where no other run writes to them. Raises FRExError."""
    if not any(next(folder.glob(f'{start}*'), None) for start in (PREFIX, CLAIM)):
        return
    with locked(folder):
        words = list(stale_run_ids(folder))
        alive = {word for word in words if is_alive(folder, word)}
        _drop_claims(folder, alive)
        dead = [word for word in words if word not in alive]
        if not dead:
            return
        report = read_report(folder)
        for journal in journals_of(folder, dead):
            join_journal(report, journal, finished=False)
        write_report(folder, report)
        for journal in journals_of(folder, dead):
            journal.unlink(missing_ok=True)
        if not alive:
            _drop_half_files([folder, *folders])
            for word in dead:
                remove_run_files(folder, word)


def _drop_claims(folder: Path, alive: Collection[str]) -> None:
    for claim in folder.glob(f'{CLAIM}*'):
        # One that is empty is just being made, unless nobody is there to make it.
        if not alive or claim.read_text() not in {'', *alive}:
            claim.unlink(missing_ok=True)


def _drop_half_files(folders: Iterable[Path]) -> None:
    own, *below = folders
    for path in [*own.glob('*.part'), *(part for folder in below for part in folder.rglob('*.part'))]:
        if HALF_FILE.fullmatch(path.name):
            path.unlink(missing_ok=True)


def report_of_all(folder: Path) -> Report:
    """The report with what the runs that go on have done so far. Raises FRExError where the file is no report."""
    report = read_report(folder)
    for journal in journals_of(folder, stale_run_ids(folder)):
        join_journal(report, journal, finished=False)
    return report

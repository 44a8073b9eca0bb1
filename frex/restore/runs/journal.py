"""What one process did so far: counted, shown on a bar, and written down. At its end all goes to the report."""

import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
from tqdm import tqdm

from frex.errors import FRExError
from frex.restore.runs.presence import Presence
from frex.restore.runs.report import PictureRecord, Report, Run
from frex.restore.runs.report_file import join, locked, read_report, write_report
from frex.shards import Share


class Heading(msgspec.Struct):
    """A journal's first line. The others are records, one each."""

    word: str
    process: int
    run: Run


class Journal:
    """Takes the records of pictures; one thread uses it. What it wrote outlives a process that is killed."""

    def __init__(self, folder: Path, share: Share, run: str, settings: Mapping[str, Any], total: int) -> None:
        self.folder = folder
        self.started = time.time()
        self.faces = 0
        heading = Heading(run, share.index, Run(settings=dict(settings), started=self.started, ended=self.started, processes=share.count))
        with locked(folder):
            self.presence = Presence(folder, f'{run}-{share.index}')
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

    def hand_in(self, finished: bool) -> Report:
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

"""What one process did so far: counted, shown on a bar, and written to the report."""

import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tqdm import tqdm

from frex.restore.runs.report import PictureRecord, Report, Run, add_to_report
from frex.restore.runs.shards import Shard

# So that a process that is killed has its work in the report, up to this.
SECONDS_BETWEEN_REPORTS = 30.0


class Journal:
    """Collects the records of pictures; one thread uses it."""

    def __init__(self, folder: Path, shard: Shard, settings: Mapping[str, Any], total: int) -> None:
        self.folder, self.shard = folder, shard
        self.started = self.written = time.time()
        self.settings = dict(settings)
        self.records: list[PictureRecord] = []
        self.faces = 0
        # A bar only on a terminal, and only one.
        self.bar = tqdm(total=total, unit='picture', disable=None if shard.rank == 0 else True)

    def __enter__(self) -> 'Journal':
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.bar.close()

    def add(self, record: PictureRecord) -> None:
        """Keep a record, and from time to time write all to the report; raises FRExError where that fails."""
        self.records.append(record)
        if record.status == 'restored':
            self.faces += sum(face.reason is None for face in record.faces)
        rate = self.faces / max(time.time() - self.started, 1e-3)
        self.bar.set_postfix_str(f'{self.faces} faces, {rate:.2g} faces/s', refresh=False)
        self.bar.update()
        if time.time() - self.written > SECONDS_BETWEEN_REPORTS:
            self.write(finished=False)

    def write(self, finished: bool) -> Report:
        """Hand what was collected to the report; `finished`: there will be no more."""
        run = Run(settings=self.settings, started=self.started, ended=time.time(), processes=self.shard.count)
        report = add_to_report(self.folder, self.shard, run, self.records, finished)
        self.records, self.written = [], time.time()
        return report

"""Find which input owns each result in an output folder, into which other processes may write at the same time.

An input claims its results before they are written, so that no two inputs write one file at once. A result is current where this run, or
another one at the same time, makes it or has made it; no other input may claim it then.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from frex.restore.folder.journal import Journal, JournalReader, is_alive, journal_path, unfinished_process_ids
from frex.restore.folder.report import REPORT, ImageRecord, is_interrupted, list_results, lock_report
from frex.restore.folder.report_index import Owner, ReportIndex

# A folder that changed a shorter time ago is listed again: a later change may have the same time.
SETTLED_SECONDS = 2.0


class Claims:
    """The owners of the results in an output folder: those in the report, and those in the journals of all processes.

    An input claims its results by a line in `journal`, the journal of this process, before they are written. `earlier_runs` are the ids
    of the other runs that were in the report when this object was made. Raises FRExError where the folder cannot be locked, and where the
    report is damaged.
    """

    def __init__(self, journal: Journal) -> None:
        self.journal, self.folder = journal, journal.folder
        self._process_ids: list[str] = []
        self._listed_at = 0.0
        with lock_report(self.folder):
            self._read_report()
            self.earlier_runs = self.index.runs.keys() - {journal.run}
            self._read_journals()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Bring the owners up to date, and let no other process claim anything within the block; raise FRExError as `lock_report` does."""
        with lock_report(self.folder):
            if _read_version(self.folder / REPORT) != self._report_version:
                self._read_report()
            self._read_journals()
            yield

    def claim(self, record: ImageRecord) -> None:
        """Write `record`, made by `make_interrupted_record`, into the journal, which claims its results, whoever owned them.

        To be called within `locked`, where their owners were judged. Raises FRExError where the journal cannot be written.
        """
        self.journal.begin(record)

    def owner_of(self, file: str) -> Owner | None:
        """Return the owner of a result file, given by its name in the report, as of the last `locked`; None where it is nobody's."""
        return self.index.owner_of(file)

    def is_current(self, owner: Owner) -> bool:
        """Return whether a result was made, or is being made, by this run or by another one at the same time.

        That is so where it is in a journal, or where its run is not among `earlier_runs`. A result that its process had begun, but not
        finished, when it was killed is not current.
        """
        if owner.interrupted:
            return owner.process != '' and is_alive(self.folder, owner.process)
        return owner.process != '' or owner.run not in self.earlier_runs

    def _read_report(self) -> None:
        """Read the report, which has changed: a process has ended, and its journal is in it."""
        self._report_version = _read_version(self.folder / REPORT)
        self.index = ReportIndex.read(self.folder)
        self._readers: dict[str, JournalReader] = {}

    def _read_journals(self) -> None:
        """Add the new records in the journals of all processes to `index`; after `_read_report` all of them are new."""
        for process_id in self._list_processes():
            if process_id not in self._readers:
                self._readers[process_id] = reader = JournalReader(journal_path(self.folder, process_id))
                if reader.heading is not None:
                    self.index.runs.setdefault(reader.heading.word, reader.heading.run)
            for record in self._readers[process_id].read_records():
                if not self._was_taken_over(record, process_id):
                    self.index.add(record, process_id)

    def _list_processes(self) -> list[str]:
        """Return the ids of the processes that have a journal. The folder is listed only where it has changed: it may hold all inputs."""
        changed = self.folder.stat().st_mtime
        if changed != self._listed_at:
            self._process_ids = list(unfinished_process_ids(self.folder))
            self._listed_at = changed if time.time() - changed > SETTLED_SECONDS else 0.0
        return self._process_ids

    def _was_taken_over(self, record: ImageRecord, process_id: str) -> bool:
        """Return whether a record is of a process that was killed, and another process has claimed its results since."""
        if not is_interrupted(record):
            return False
        owners = map(self.index.owner_of, list_results(record))
        taken = any(owner is not None and owner.process not in ('', process_id) for owner in owners)
        return taken and not is_alive(self.folder, process_id)


def _read_version(path: Path) -> tuple[int, int, int] | None:
    """Return numbers that differ between two versions of a file that is replaced; None where there is none."""
    try:
        state = path.stat()
    except FileNotFoundError:
        return None
    return state.st_ino, state.st_mtime_ns, state.st_size

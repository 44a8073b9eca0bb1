"""Read, change and write `report.json`, the report of `frex restore`, in which each image has a record on a line of its own.

The records are kept in a temporary SQLite database on the disk, so that many images do not fill the memory.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec

from frex.errors import FRExError, one_line
from frex.restore.folder.report import REPORT, ImageRecord, Report, Run, is_complete, is_interrupted, list_results
from frex.utils.files import MissingFileError, open_regular, write_atomically

# Where the list of records begins and ends in the file.
BEGIN, END = b'[\n', b']}\n'
# Records that are put into the database at a time.
RECORDS_AT_ONCE = 100
TABLES = """
PRAGMA journal_mode = OFF;
CREATE TABLE images (input TEXT, process TEXT, run TEXT, status TEXT, interrupted INTEGER, line BLOB, PRIMARY KEY (input, process))
    WITHOUT ROWID;
CREATE TABLE files (file TEXT PRIMARY KEY, input TEXT, process TEXT) WITHOUT ROWID;
CREATE INDEX files_of ON files (input, process);
BEGIN;
"""
OWNER = 'SELECT input, process, run, status, interrupted FROM files JOIN images USING (input, process) WHERE file = ?'

_decoder = msgspec.json.Decoder(ImageRecord)


class Owner(NamedTuple):
    """The image that a result file belongs to: `input`, `run` and `status` of its record, and whether its run was interrupted at it.

    `process` is the id of the process whose journal holds the record; it is empty for a record of the report.
    """

    input: str
    process: str
    run: str
    status: str
    interrupted: bool


class ReportIndex:
    """The runs of a report by their ids, and one record for each image, which can be looked up by the files of its results.

    It can also hold the records of journals, one for each image and process. Then it must not be written.
    """

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        # A database without a name is a temporary file, which the system removes even when the process is killed.
        self._database = sqlite3.connect('', isolation_level=None)
        self._database.executescript(TABLES)

    @classmethod
    def read(cls, folder: Path) -> 'ReportIndex':
        """Read the report in `folder`, an empty one where there is none.

        Raises FRExError where the file cannot be read or is not a complete report of version 1.
        """
        index = cls()
        index.runs, records = read_report(folder)
        while part := list(islice(records, RECORDS_AT_ONCE)):
            index._insert((record, '', line) for record, line in part)
        return index

    def add(self, record: ImageRecord, process: str = '') -> None:
        """Add a record, in place of that of the same image and process; one of a skipped image is only added where there is none of it.

        Records of other images whose results it has overwritten are removed. `process` is that of `Owner`.
        """
        if record.status == 'skipped' and self._first('SELECT 1 FROM images WHERE input = ?', record.input):
            return
        execute, files, own = self._database.execute, list(list_results(record)), (record.input, process)
        owners = {found for file in files if (found := self._first('SELECT input, process FROM files WHERE file = ?', file))}
        for owner in owners - {own}:
            execute('DELETE FROM images WHERE input = ? AND process = ?', owner)
        for owner in {*owners, own}:
            execute('DELETE FROM files WHERE input = ? AND process = ?', owner)
        self._insert([(record, process, msgspec.json.encode(record))])

    def _insert(self, records: Iterable[tuple[ImageRecord, str, bytes]]) -> None:
        """Insert records with their process and their JSON."""
        images, files = [], []
        for record, process, line in records:
            images.append((record.input, process, record.run, record.status, is_interrupted(record), line))
            files += [(file, record.input, process) for file in list_results(record)]
        self._database.executemany('INSERT OR REPLACE INTO images VALUES (?, ?, ?, ?, ?, ?)', images)
        self._database.executemany('INSERT OR REPLACE INTO files VALUES (?, ?, ?)', files)

    def owner_of(self, file: str) -> Owner | None:
        """Return the owner of a result file, given by its name in the report; None where no record names it."""
        found = self._first(OWNER, file)
        return None if found is None else Owner._make(found)

    def _first(self, query: str, value: str) -> tuple[Any, ...] | None:
        found: tuple[Any, ...] | None = self._database.execute(query, (value,)).fetchone()
        return found

    def records(self, run: str) -> Iterator[ImageRecord]:
        """Yield the records of the run with the id `run`, sorted by `input`; none where it is unknown."""
        for (line,) in self._database.execute('SELECT line FROM images WHERE run = ? ORDER BY input', (run,)):
            yield _decoder.decode(line)

    def write(self, folder: Path, run: str = '') -> None:
        """Write the report to `folder`, in place of an existing one; to be called within `lock_report`.

        Finished runs of which no record is left are dropped, such as those that skipped all images, except `run`.
        """
        used = {run, *(one for (one,) in self._database.execute('SELECT DISTINCT run FROM images'))}
        self.runs = {name: one for name, one in self.runs.items() if name in used or not is_complete(one)}
        with write_atomically(folder / REPORT) as part, part.open('wb') as file:
            file.write(msgspec.json.encode(Report(version=1, runs=self.runs)).removesuffix(b']}') + b'\n')
            comma = b''
            for (line,) in self._database.execute('SELECT line FROM images ORDER BY input'):
                file.write(comma + line)
                comma = b',\n'
            file.write(b'\n' * bool(comma) + END)


def read_report(folder: Path) -> tuple[dict[str, Run], Iterator[tuple[ImageRecord, bytes]]]:
    """Return the runs of the report in `folder`, and an iterator over its records, each with its JSON; both are empty without a report.

    The records are read as they are asked for. Raises FRExError, also from the iterator, where the file cannot be read or is not a
    complete report of version 1.
    """
    path = folder / REPORT
    with _refuse_other_files(path):
        try:
            file = open_regular(path)
        except MissingFileError:
            return {}, iter(())
        head = file.readline()
        if head.endswith(BEGIN):
            return msgspec.json.decode(head + END, type=Report).runs, _read_lines(path, file)
        # Another program has laid out the file anew.
        with file:
            report = msgspec.json.decode(head + file.read(), type=Report)
        return report.runs, ((record, msgspec.json.encode(record)) for record in report.images)


def _read_lines(path: Path, file: BinaryIO) -> Iterator[tuple[ImageRecord, bytes]]:
    with _refuse_other_files(path), file:
        for line in file:
            if line == END:
                return
            record = line.rstrip(b',\n')
            yield _decoder.decode(record), record
        raise msgspec.DecodeError('its end is missing')


@contextmanager
def _refuse_other_files(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, FRExError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        reason = one_line(str(error))
        raise FRExError(f'{path}: not a report of this program ({reason}); move it away, or give another --output') from None

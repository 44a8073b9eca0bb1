"""A folder of results that a later run can continue: a JSON record in it holds the settings that the work was begun with."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from frex.errors import FRExError
from frex.utils.files import read_regular, write_atomically

Record = dict[str, Any]
# Dictionaries within a record, for example `settings`, whose values must be the same when the work is continued.
Sections = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class ResumableFolder:
    """The folder `root` with its record, a JSON file called `record`.

    `kept` are names of files that may be in the folder before the record is written.
    """

    root: Path
    record: str
    kept: tuple[str, ...] = ()

    def read(self, sections: Sections) -> Record | None:
        """Return the record, or None where the folder is new.

        Raises FRExError where the work was begun with other values than those in `sections` or the record is damaged, and where a folder
        without a record holds other files.
        """
        path = self.root / self.record
        if not path.exists():
            self.refuse_other_files()
            return None
        try:
            record: Record = dict(json.loads(read_regular(path)))
            begun = {name: dict(record[name]) for name in sections}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FRExError(f'{path}: damaged, or of another program ({error!r}); give a new folder') from None
        for name, requested in _through_json(sections).items():
            for key in requested:
                if begun[name].get(key) != requested[key]:
                    was = f'{key} {begun[name].get(key)}, not {requested[key]}'
                    raise FRExError(f'{self.root}: was begun with {was}; use the same value, or give a new folder')
        return record

    def refuse_other_files(self) -> None:
        """Raise FRExError where `root` is a file, or holds files other than the record and those named in `kept`."""
        if self.root.exists() and not self.root.is_dir():
            raise FRExError(f'{self.root}: is a file; give a new folder')
        there = sorted(other.name for other in self.root.iterdir()) if self.root.is_dir() else []
        others = [name for name in there if name not in self.kept and not name.startswith((self.record, f'.{self.record}'))]
        if others:
            raise FRExError(f'{self.root}: holds {others[0]} but no {self.record}, so it is no such set; give a new folder')

    def begin(self, sections: Sections, **first: Any) -> Record:
        """Create the folder and return the record; where there is none, write one with `sections` and the entries `first`.

        Several processes may begin at the same time. Raises FRExError as `read` does.
        """
        self.read(sections)
        with self.locked():
            record = self.read(sections) or first | _through_json(sections)
            self.write(record)
        return record

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Create the folder and hold its lock: only one process at a time is inside this context."""
        self.root.mkdir(parents=True, exist_ok=True)
        with FileLock(self.root / f'.{self.record}.lock'):
            yield

    def write(self, record: Record) -> None:
        """Write the record atomically, in the place of an earlier one; the folder must exist."""
        with write_atomically(self.root / self.record) as part:
            part.write_text(json.dumps(record, indent=1) + '\n', encoding='utf-8')


def _through_json(sections: Sections) -> dict[str, dict[str, Any]]:
    """Return `sections` as they are after writing and reading JSON: tuples become lists."""
    values: dict[str, dict[str, Any]] = json.loads(json.dumps(sections))
    return values

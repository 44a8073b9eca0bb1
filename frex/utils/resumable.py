"""A folder of results that a later run can go on with: a JSON record in it says what the work was begun with."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from frex.errors import FRExError
from frex.utils.files import replacing

Record = dict[str, Any]
# Sections of a record, `settings` among them, that must be the same whenever the work goes on.
Sections = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class ResumableFolder:
    """`record` is the name of the JSON file. `kept` are names of files that may be in the folder before it."""

    root: Path
    record: str
    kept: tuple[str, ...] = ()

    def read(self, sections: Sections) -> Record | None:
        """The record, None where the folder is new.

        Raises FRExError where the work was begun with something else than `sections`, and where the folder holds other files.
        """
        path = self.root / self.record
        if not path.exists():
            self.refuse_other_files()
            return None
        try:
            record: Record = dict(json.loads(path.read_text(encoding='utf-8')))
            begun = {name: dict(record[name]) for name in sections}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FRExError(f'{path}: damaged, or of another program ({error!r}); give a new folder') from None
        for name, asked in _as_json(sections).items():
            for key in asked:
                if begun[name].get(key) != asked[key]:
                    was = f'{key} {begun[name].get(key)}, not {asked[key]}'
                    raise FRExError(f'{self.root}: was begun with {was}; ask for the same, or give a new folder')
        return record

    def refuse_other_files(self) -> None:
        """Raise FRExError where a folder without a record is a file, or holds files that are not `kept`."""
        if self.root.exists() and not self.root.is_dir():
            raise FRExError(f'{self.root}: is a file; give a new folder')
        there = sorted(other.name for other in self.root.iterdir()) if self.root.is_dir() else []
        others = [name for name in there if name not in self.kept and not name.startswith((self.record, f'.{self.record}'))]
        if others:
            raise FRExError(f'{self.root}: holds {others[0]} but no {self.record}, so it is no such set; give a new folder')

    def begin(self, sections: Sections, **first: Any) -> Record:
        """The record, written where there is none, with `first` beside its `sections`; safe where several processes begin.

        Raises FRExError as `read` does.
        """
        self.read(sections)
        with self.locked():
            record = self.read(sections) or first | _as_json(sections)
            self.write(record)
        return record

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Only one process at a time is in here; makes the folder."""
        self.root.mkdir(parents=True, exist_ok=True)
        with FileLock(self.root / f'.{self.record}.lock'):
            yield

    def write(self, record: Record) -> None:
        """Replace the record, whole or not at all."""
        with replacing(self.root / self.record) as part:
            part.write_text(json.dumps(record, indent=1) + '\n', encoding='utf-8')


def _as_json(sections: Sections) -> dict[str, dict[str, Any]]:
    """As JSON gives them back: tuples are lists."""
    values: dict[str, dict[str, Any]] = json.loads(json.dumps(sections))
    return values

"""Of which clean picture each degraded one was made: a clean one may change before the set is whole and its record is written."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from frex.testsets.degraded_pictures import Recipe, Task, write
from frex.utils.jsonl import append_line, read_lines
from frex.weights.places import sha256


class Made(Struct, frozen=True):
    """Sums of a clean picture's file, of what was made of it, and of its copy at the size of the results where there is one."""

    name: str
    gt_sha256: str
    sha256: str
    resized_sha256: str | None = None

    @property
    def sums(self) -> dict[str, Any]:
        """As the record has them."""
        resized = {} if self.resized_sha256 is None else {'resized_sha256': self.resized_sha256}
        return {'gt_sha256': self.gt_sha256, 'sha256': self.sha256, **resized}


def make(task: Task, recipe: Recipe) -> Made:
    """Do a task."""
    # Before it is read: of one that is replaced meanwhile the sum does not hold, so it will be done again.
    gt_sha256 = sha256(task.source)
    write(task, recipe)
    return msgspec.structs.replace(made_of(task), gt_sha256=gt_sha256)


def made_of(task: Task) -> Made:
    """As the files are now."""
    return Made(task.name, sha256(task.source), sha256(task.lq), None if task.gt is None else sha256(task.gt))


class Journal:
    """Lines of `Made`, in one file for each share of the work, so that several processes can write; removed once the set is whole."""

    def __init__(self, root: Path, start: str, share: str) -> None:
        self.root, self.start = root, start
        self.path = root / f'{start}.{share}.jsonl'

    def add(self, made: Made) -> Made:
        """Write it down at once: a process may be killed."""
        append_line(self.path, made)
        return made

    def read(self) -> set[Made]:
        """Those of all shares; what is damaged is as if it were not there."""
        return {made for path in self._files() for made in read_lines(path, Made)}

    def remove(self) -> None:
        """Those of all shares."""
        for path in self._files():
            path.unlink(missing_ok=True)

    def _files(self) -> Sequence[Path]:
        return sorted(self.root.glob(f'{self.start}.*.jsonl'))

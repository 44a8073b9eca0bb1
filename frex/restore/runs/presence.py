"""Telling the runs that go on from those that were killed."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

PREFIX, LOCK, JOURNAL = '.run-', '.lock', '.jsonl'


class Presence:
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


def words_of(folder: Path) -> Iterator[str]:
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


def forget(folder: Path, word: str) -> None:
    """Remove the files of a dead run."""
    for end in (JOURNAL, LOCK):
        (folder / f'{PREFIX}{word}{end}').unlink(missing_ok=True)

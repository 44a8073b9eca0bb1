"""The folder of a training run: made, locked while the run lives, and cleared of the incomplete files of a killed run."""

import sys
from pathlib import Path

from basicsr.utils.dist_util import master_only
from basicsr.utils.misc import mkdir_and_rename
from filelock import FileLock, Timeout

from frex.options.sections import PathOptions
from frex.utils.files import PARTIAL_FILE

LOCK = '.run.lock'
# The loading processes of a killed run hold its lock for up to five seconds longer.
WAIT_SECONDS = 10


@master_only
def make_folders(path: PathOptions) -> None:
    """Make the folders of a run, after renaming the folder of an older run to `NAME_archived_TIME`; only the first process does so.

    BasicSR would make a folder of every other entry of `path`, too.
    """
    mkdir_and_rename(str(path.root))
    for folder in filter(None, (path.models, path.training_states, path.visualization)):
        Path(folder).mkdir(parents=True, exist_ok=True)


class RunFolder:
    """The folder of a run, whose `path` options name it. Only the first process of a run acts on it."""

    def __init__(self, path: PathOptions) -> None:
        self.path = path
        self._lock = FileLock(path.root / LOCK, timeout=WAIT_SECONDS)

    @master_only
    def make(self) -> None:
        """Make the folder of a new run as `make_folders` does, and lock it where its file system knows locks."""
        make_folders(self.path)
        self._is_locked()

    @master_only
    def resume(self) -> None:
        """Lock the folder of a resumed run, and remove the incomplete files in it.

        Where the lock cannot be had within WAIT_SECONDS, another process may be writing them: then they stay, a line on stderr says so, and
        the run goes on. A folder that does not exist is left alone.
        """
        if not self.path.root.is_dir():
            return
        if not self._is_locked():
            print(f'{self.path.root}: another run may be writing here; its incomplete files stay', file=sys.stderr)
            return
        for folder in (self.path.root, Path(self.path.models), Path(self.path.training_states)):
            for path in folder.glob('*.part'):
                if PARTIAL_FILE.fullmatch(path.name):
                    path.unlink(missing_ok=True)

    def close(self) -> None:
        """Release the lock at the end of the run; the system does so for a killed one."""
        self._lock.release()

    def _is_locked(self) -> bool:
        """Lock the folder; return False where another process keeps it locked for WAIT_SECONDS, or its file system knows no locks."""
        try:
            self._lock.acquire()
        except (Timeout, OSError, NotImplementedError):
            return False
        return True

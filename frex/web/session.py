"""The uploads and results of one tab of a browser, in a folder that ends with it."""

import os
import shutil
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

from frex.errors import FRExError
from frex.web.options import Limits
from frex.web.previews import THUMBNAIL_SIDE, write_preview
from frex.web.run import WebRun
from frex.web.uploads import Upload, read_upload


class Session:
    """What one tab of a browser has uploaded, and what was made of it last, in `folder`.

    Code that changes `run` holds `lock`; `clear` takes the lock itself.
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.folder, self.limits = folder, limits
        self.lock = threading.Lock()
        self.uploads: list[Upload] = []
        self.run: WebRun | None = None
        self._runs = 0
        folder.mkdir()

    def add(self, file: Path) -> Upload:
        """Move an uploaded file into the session and return it.

        Raises FRExError, and removes the file, where the session is full, and as `read_upload` does.
        """
        try:
            if len(self.uploads) >= self.limits.files:
                raise FRExError(f'{file.name}: there are {len(self.uploads)} photographs already, the most that this page takes')
            photo = read_upload(file, self.limits)
            thumbnail = self.folder / 'thumbnails' / f'{len(self.uploads):02d}.png'
            write_preview(thumbnail, photo, THUMBNAIL_SIDE)
            path = self.folder / 'uploads' / self._free_name(file)
            path.parent.mkdir(exist_ok=True)
            shutil.move(file, path)
        finally:
            file.unlink(missing_ok=True)
        height, width = photo.image.shape[:2]
        self.uploads.append(Upload(path, width, height, thumbnail))
        return self.uploads[-1]

    def _free_name(self, file: Path) -> str:
        """Return a name for an upload that differs from the others before its suffix, since results have that name."""
        taken = {upload.path.stem.lower() for upload in self.uploads}
        names = (file.stem, *(f'{file.stem}({number})' for number in range(1, self.limits.files + 1)))
        return next(name for name in names if name.lower() not in taken) + file.suffix

    def clear(self) -> None:
        """Wait until no work on the session is in progress, then forget its uploads and its run and delete all their files."""
        with self.lock:
            self.uploads, self.run = [], None
            for path in self.folder.iterdir():
                shutil.rmtree(path)

    def new_run(self) -> Path:
        """Return the folder, not yet there, for the results of the next run."""
        self._runs += 1
        return self.folder / f'run{self._runs}'

    def replace_run(self, run: WebRun) -> None:
        """Make `run` the run of the session and delete the files of all earlier ones, also of failed runs; the caller holds `lock`."""
        self.run = run
        for path in self.folder.glob('run*'):
            if path != run.folder:
                shutil.rmtree(path)


class Sessions:
    """All open sessions by their names, in a temporary folder that `close` removes."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._home = TemporaryDirectory(prefix='frex_web_')
        self.folder = Path(self._home.name).resolve()
        self._lock = threading.Lock()
        self._open: dict[str, Session] = {}

    def get(self, name: str) -> Session:
        """Return the session of this name, which begins with the first call."""
        with self._lock:
            if name not in self._open:
                # Nobody can guess the name of a folder, from which files are served.
                self._open[name] = Session(self.folder / os.urandom(16).hex(), self.limits)
            return self._open[name]

    def end(self, name: str) -> None:
        """Forget a session, wait until no work on it is in progress, and delete its files; without a session of this name do nothing."""
        with self._lock:
            session = self._open.pop(name, None)
        if session is not None:
            with session.lock:
                shutil.rmtree(session.folder, ignore_errors=True)

    def close(self) -> None:
        """End all sessions, each as `end` does, and delete the temporary folder."""
        for name in list(self._open):
            self.end(name)
        self._home.cleanup()

"""The folder of aligned faces that every method restores."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from frex.data.sources import FolderSource
from frex.errors import FRExError
from frex.utils.files import sha256


@dataclass(frozen=True)
class FaceFolder:
    """The images in and below `root`; `names` are their sorted paths relative to it."""

    root: Path
    names: tuple[str, ...]

    @classmethod
    def open(cls, root: Path, where: str) -> 'FaceFolder':
        """Find the images in and below `root`; error messages call it `where`, the flag that names it.

        Raises FRExError where there is none, or where two images would have the same result.
        """
        names = FolderSource(root, where).names
        twice = [result for result, count in Counter(map(result_name, names)).items() if count > 1]
        if twice:
            raise FRExError(f'{where}: two images in {root} would both be restored to {twice[0]}; rename one')
        return cls(root, tuple(names))

    def path(self, name: str) -> Path:
        """Return the path of the face called `name`."""
        return self.root / name

    def missing_results(self, images: Path) -> tuple[str, ...]:
        """Return the names of the faces that have no result in the folder `images`."""
        return tuple(name for name in self.names if not (images / result_name(name)).is_file())

    def digest(self) -> str:
        """Return one SHA-256 over the names and contents of all images."""
        lines = ''.join(f'{sha256(self.path(name))} {name}\n' for name in self.names)
        return hashlib.sha256(lines.encode(errors='surrogateescape')).hexdigest()


def result_name(name: str) -> str:
    """Return the relative path of a face's result: that of the face with the suffix `.png`."""
    return PurePosixPath(name).with_suffix('.png').as_posix()

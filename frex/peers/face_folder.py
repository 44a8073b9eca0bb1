"""The folder of aligned faces that every method gets."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from frex.data.sources import FolderSource
from frex.errors import FRExError
from frex.utils.files import sha256


@dataclass(frozen=True)
class FaceFolder:
    """Images below `root`; `names` are their paths relative to it, in order."""

    root: Path
    names: tuple[str, ...]

    @classmethod
    def open(cls, root: Path, where: str) -> 'FaceFolder':
        """Raises FRExError, naming the folder as `where`, where it holds no image, or two that would have one result."""
        names = FolderSource(root, where).names
        twice = [result for result, count in Counter(map(result_name, names)).items() if count > 1]
        if twice:
            raise FRExError(f'{where}: two images in {root} would both be restored to {twice[0]}; rename one')
        return cls(root, tuple(names))

    def picture(self, name: str) -> Path:
        """The file of a face."""
        return self.root / name

    def without_result(self, images: Path) -> tuple[str, ...]:
        """Names of the faces that have none in `images`."""
        return tuple(name for name in self.names if not (images / result_name(name)).is_file())

    def digest(self) -> str:
        """One sha256 for names and contents of all images."""
        lines = ''.join(f'{sha256(self.picture(name))} {name}\n' for name in self.names)
        return hashlib.sha256(lines.encode(errors='surrogateescape')).hexdigest()


def result_name(name: str) -> str:
    """Of a face's result, whatever the format of its image."""
    return PurePosixPath(name).with_suffix('.png').as_posix()

"""Files of faces that were there when a run began."""

import os
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from frex.restore.runs.report import PictureRecord, as_text


class FormerFaces:
    """By their picture's name. `folders`: where they lie; `end`: what follows a face's number in their names."""

    def __init__(self, folders: Sequence[Path], end: str) -> None:
        self._folders = folders
        self._pattern = re.compile(rf'(.+)_\d\d+{re.escape(end)}', re.DOTALL)
        # Each folder is listed once: to look for a hundred numbers of each picture would take long.
        self._listed: dict[PurePosixPath, dict[str, list[Path]]] = {}

    def of(self, name: PurePosixPath) -> tuple[Path, ...]:
        """The faces of `name`, which are NAME_00, NAME_01 ... in all folders."""
        if name.parent not in self._listed:
            self._listed[name.parent] = self._list(name.parent)
        return tuple(self._listed[name.parent].get(name.name, ()))

    def _list(self, parent: PurePosixPath) -> dict[str, list[Path]]:
        found = defaultdict(list)
        for folder in self._folders:
            place = folder / parent
            for file in sorted(os.listdir(place)) if place.is_dir() else ():
                match = self._pattern.fullmatch(file)
                if match is not None:
                    found[match[1]].append(place / file)
        return dict(found)


def drop_former(former: Sequence[Path], folder: Path, record: PictureRecord) -> None:
    """Remove the faces of an earlier run that are none of those that `record` tells of."""
    written = {file for face in record.faces for file in face.files.values()}
    for path in former:
        if as_text(path.relative_to(folder).as_posix()) not in written:
            path.unlink(missing_ok=True)

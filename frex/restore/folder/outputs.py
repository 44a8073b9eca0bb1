"""Where the results of an image go."""

import os
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2s
from pathlib import Path, PurePosixPath

from frex.errors import FRExError
from frex.restore.folder.inputs import Input
from frex.restore.folder.journal import CLAIM
from frex.restore.folder.report import PictureRecord, as_text
from frex.restore.folder.result_names import MOST_BYTES, shortened
from frex.restore.image_io.formats import FORMATS, format_of

PICTURES = 'restored_imgs'
FACES = ('cropped_faces', 'restored_faces', 'cmp')
DETAILS = ('depth', 'image_3d', 'turntable', 'weights_map')

# Bytes of a file's name for what follows the image's: `(12)_00_depth.png`.
ROOM = 40


@dataclass(frozen=True)
class Results:
    """The files of one image's results. `name`: theirs, as a path without suffix; `suffix` begins with `_`, or is empty.

    `former`: faces of an earlier run that these results are to take the place of.
    """

    folder: Path
    name: PurePosixPath
    suffix: str
    picture_ext: str
    face_ext: str
    former: tuple[Path, ...] = field(default=(), compare=False)

    @property
    def picture(self) -> Path:
        """`restored_imgs/NAME[_SUFFIX].EXT`."""
        return self._file(PICTURES, '', self.picture_ext)

    def face(self, kind: str, index: int) -> Path:
        """`KIND/NAME_00[_SUFFIX].EXT`; `kind` is one of FACES or DETAILS."""
        return self._file(kind, f'_{index:02d}', self.face_ext)

    def _file(self, kind: str, number: str, ext: str) -> Path:
        return self.folder / kind / self.name.parent / f'{self.name.name}{number}{self.suffix}{ext}'

    def main(self, aligned: bool) -> Path:
        """The one that is written last: the restored face for an aligned input, else the restored image."""
        return self.face('restored_faces', 0) if aligned else self.picture


class Outputs:
    """Plans results. `suffix`: added to names; `ext`: of results, or `auto`: the input's for images and png for faces.

    `exist`, for results that are there: `skip`, `overwrite`, or `rename` to NAME(1), NAME(2)... A process that renames claims
    its names in `folder`, until `close`, so that none takes another's; `word` is written to the claims, so that those of a
    dead process are known. Raises FRExError for what makes no file's name.
    """

    def __init__(self, folder: Path, suffix: str = '', ext: str = 'auto', exist: str = 'skip', word: str = '') -> None:
        if not {'/', os.sep, '\0'}.isdisjoint(suffix) or len(os.fsencode(suffix)) > MOST_BYTES // 2:
            raise FRExError(f'--suffix {suffix}: not a part of a file name')
        if exist not in ('skip', 'overwrite', 'rename'):
            raise FRExError(f'--exist {exist}: skip, overwrite or rename')
        self.folder = folder
        self.suffix = f'_{suffix.lstrip("_")}' if suffix.strip('_') else ''
        self.ext = 'auto' if ext == 'auto' else f'.{ext.lower().lstrip(".")}'
        self.exist, self.word = exist, word
        self._claims: set[Path] = set()
        if self.ext != 'auto':
            format_of(self.ext)
        self._face_ext = '.png' if self.ext == 'auto' else self.ext
        self.former = ExistingFaceFiles([folder / kind for kind in (*FACES, *DETAILS)], f'{self.suffix}{self._face_ext}')

    @property
    def folders(self) -> list[Path]:
        """Where results lie: `find_inputs` leaves them out."""
        return [self.folder / kind for kind in (PICTURES, *FACES, *DETAILS)]

    def plan(self, item: Input, aligned: bool = False) -> Results | None:
        """Where the results of an input go; None where it is to be skipped."""
        if self.exist == 'rename':
            return self._renamed(item)
        results = self.results(item)
        if self.exist == 'skip':
            return None if results.main(aligned).exists() else results
        return replace(results, former=self.former.of(results.name))

    def results(self, item: Input, number: int = 0) -> Results:
        """Where they would go were nothing there; `number`: that of a renamed one."""
        name = shortened(item.name.name, MOST_BYTES - ROOM - len(os.fsencode(self.suffix)))
        numbered = item.name.with_name(f'{name}({number})' if number else name)
        suffix = item.path.suffix.lower()
        own = suffix if suffix in FORMATS else '.png'
        return Results(
            self.folder,
            numbered,
            self.suffix,
            picture_ext=own if self.ext == 'auto' else self.ext,
            face_ext=self._face_ext,
        )

    def _renamed(self, item: Input) -> Results:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FRExError(f'{self.folder}: cannot be written ({error.strerror})') from error
        number = 0
        # First claimed, then looked up: another process may have written it just before it gave up its claim.
        while not (self._claim(results := self.results(item, number)) and self._is_free(results)):
            number += 1
        return results

    def _is_free(self, results: Results) -> bool:
        there = results.picture.exists() or any(results.face(kind, 0).exists() for kind in FACES)
        return not (there or self.former.of(results.name))

    def _claim(self, results: Results) -> bool:
        digest = blake2s(os.fsencode(f'{results.name}{results.suffix}'), digest_size=16).hexdigest()
        claim = self.folder / f'{CLAIM}{digest}'
        try:
            with claim.open('x') as file:
                file.write(self.word)
        except FileExistsError:
            return False
        except OSError as error:
            raise FRExError(f'{claim}: cannot be written ({error.strerror})') from error
        self._claims.add(claim)
        return True

    def close(self) -> None:
        """Give up the claims: every planned result is written, or never will be."""
        while self._claims:
            self._claims.pop().unlink(missing_ok=True)


class ExistingFaceFiles:
    """By their image's name. `folders`: where they lie; `end`: what follows a face's number in their names."""

    def __init__(self, folders: Sequence[Path], end: str) -> None:
        self._folders = folders
        self._pattern = re.compile(rf'(.+)_\d\d+{re.escape(end)}', re.DOTALL)
        # Each folder is listed once: to look for a hundred numbers of each image would take long.
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


def remove_stale_faces(former: Sequence[Path], folder: Path, record: PictureRecord) -> None:
    """Remove the faces of an earlier run that are none of those that `record` tells of."""
    written = {file for face in record.faces for file in face.files.values()}
    for path in former:
        if as_text(path.relative_to(folder).as_posix()) not in written:
            path.unlink(missing_ok=True)

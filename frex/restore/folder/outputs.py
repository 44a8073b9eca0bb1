"""Choose the files of an image's results, and handle results that exist already."""

import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2s
from itertools import count
from pathlib import Path, PurePosixPath

from frex.errors import FRExError
from frex.restore.folder.inputs import Input
from frex.restore.folder.report import ImageRecord, relative_name
from frex.restore.image_io.encoding import FORMATS, find_format

RESTORED_IMAGES = 'restored_imgs'
RESTORED_FILMS = 'restored_videos'
# The suffixes of films that can be written; the first is the usual one.
FILM_EXTS = ('.mp4', '.mkv', '.mov')
FACES = ('cropped_faces', 'restored_faces', 'cmp')
DETAILS = ('depth', 'image_3d', 'turntable', 'weights_map')
CODES = 'codes'
# The files of recovered heads that are no images: their folders, and their suffixes.
HEAD_EXTS = {CODES: '.safetensors', 'heads_mp4': '.mp4', 'heads_ply': '.ply', 'heads_glb': '.glb'}

# The limit of most file systems for a name, less what `frex.utils.files.write_atomically` appends while a file is written.
MOST_BYTES = 255 - len('.01234567.part')
# Bytes of a file name that are kept free for what follows the name of the image, such as `(12)_00_depth.png`.
RESERVED_BYTES = 40


@dataclass(frozen=True)
class Results:
    """The files of one image's results.

    `name` is their common name, a relative path without suffix. `suffix` is the ending of `--suffix`: it begins with `_`, or is empty.
    `existing_faces` are the faces of an earlier run, which these results replace. `film` is True for a film, which has one result: its
    `image_ext` is the suffix of the film, or empty for a folder of frames.
    """

    folder: Path
    name: PurePosixPath
    suffix: str
    image_ext: str
    face_ext: str
    existing_faces: tuple[Path, ...] = field(default=(), compare=False)
    film: bool = False

    @property
    def image(self) -> Path:
        """The restored image or film: `restored_imgs/NAME[_SUFFIX].EXT` or `restored_videos/NAME[_SUFFIX].EXT`."""
        return self.folder / self._image_file()

    def face(self, kind: str, index: int) -> Path:
        """Return the file of face number `index`: `KIND/NAME_00[_SUFFIX].EXT`; `kind` is one of FACES, DETAILS or HEAD_EXTS."""
        return self.folder / self._file(kind, f'_{index:02d}', HEAD_EXTS.get(kind, self.face_ext))

    def _file(self, kind: str, number: str, ext: str) -> str:
        return f'{kind}/{self.name}{number}{self.suffix}{ext}'

    def _image_file(self) -> str:
        return self._file(RESTORED_FILMS if self.film else RESTORED_IMAGES, '', self.image_ext)

    def _face_file(self) -> str | None:
        return None if self.film else self._file('restored_faces', '_00', self.face_ext)

    def own_files(self) -> tuple[str, str | None]:
        """Return the restored image and the first restored face, relative to the folder; they can belong to one input only.

        The other files of the results have the name of the face, in other folders. A film has no face, but None.
        """
        return self._image_file(), self._face_file()

    def main(self, aligned: bool) -> str:
        """Return the one of `own_files` that is written last: the restored face for an aligned input, else the restored image."""
        face = self._face_file()
        return face if aligned and face is not None else self._image_file()


class Outputs:
    """Plans the results of a run in the output folder `folder`.

    `suffix` is added to the names of results. `ext` is their file suffix; `auto` takes the input's for images, png for faces and mp4 for
    films. A suffix of films applies to films alone, and one of images to all else. `exist` says what happens where results exist: `skip`
    the input, `overwrite` them, or `rename` the new ones to NAME(1), NAME(2) and so on. Raises FRExError for a bad `suffix`, `ext` or
    `exist`.
    """

    def __init__(self, folder: Path, suffix: str = '', ext: str = 'auto', exist: str = 'skip') -> None:
        if not {'/', os.sep, '\0'}.isdisjoint(suffix) or len(os.fsencode(suffix)) > MOST_BYTES // 2:
            raise FRExError(f'--suffix {suffix}: not a part of a file name')
        if exist not in ('skip', 'overwrite', 'rename'):
            raise FRExError(f'--exist {exist}: skip, overwrite or rename')
        self.folder = folder
        self.suffix = f'_{suffix.lstrip("_")}' if suffix.strip('_') else ''
        given = 'auto' if ext == 'auto' else f'.{ext.lower().lstrip(".")}'
        self.film_ext = given if given in FILM_EXTS else FILM_EXTS[0]
        self.ext = 'auto' if given in FILM_EXTS else given
        self.exist = exist
        if self.ext != 'auto':
            find_format(self.ext)
        self._face_ext = '.png' if self.ext == 'auto' else self.ext
        endings = dict.fromkeys((*FACES, *DETAILS), f'{self.suffix}{self._face_ext}') | {
            kind: f'{self.suffix}{end}' for kind, end in HEAD_EXTS.items()
        }
        self.face_files = ExistingFaceFiles({folder / kind: ending for kind, ending in endings.items()})

    @property
    def folders(self) -> list[Path]:
        """The folders of the results, in which `find_inputs` does not search."""
        return [self.folder / kind for kind in (RESTORED_IMAGES, RESTORED_FILMS, *FACES, *DETAILS, *HEAD_EXTS)]

    def plan(self, item: Input, is_claimed: Callable[[Results], bool] = lambda results: False) -> Results:
        """Return the files for the results of an input; with `rename`, the first that do not exist and that are not claimed."""
        if self.exist != 'rename':
            results = self.results(item)
            replaces_faces = self.exist == 'overwrite' and not item.film
            return replace(results, existing_faces=self.face_files.of(results.name)) if replaces_faces else results
        numbered = (self.results(item, number) for number in count())
        return next(results for results in numbered if not is_claimed(results) and self._is_free(results))

    def results(self, item: Input, number: int = 0) -> Results:
        """Return the files for the results of an input, whether they exist or not; `number` is added to the name, as NAME(2), if not 0."""
        name = shorten_name(item.name.name, MOST_BYTES - RESERVED_BYTES - len(os.fsencode(self.suffix)))
        numbered = f'{name}({number})' if number else name
        return Results(
            self.folder,
            item.name if numbered == item.name.name else item.name.with_name(numbered),
            self.suffix,
            image_ext=self._film_ext_of(item) if item.film else self._image_ext_of(item),
            face_ext=self._face_ext,
            film=item.film,
        )

    def _image_ext_of(self, item: Input) -> str:
        suffix = item.path.suffix.lower()
        input_ext = suffix if suffix in FORMATS else '.png'
        return input_ext if self.ext == 'auto' else self.ext

    def _film_ext_of(self, item: Input) -> str:
        return '' if os.path.isdir(item.path) else self.film_ext

    def _is_free(self, results: Results) -> bool:
        if results.film:
            return not results.image.exists()
        exists = results.image.exists() or any(results.face(kind, 0).exists() for kind in FACES)
        return not (exists or self.face_files.of(results.name))


def shorten_name(name: str, most: int) -> str:
    """Return `name` in at most `most` bytes; a longer one is cut and ends with `~` and a hash of the whole name."""
    if len(os.fsencode(name)) <= most:
        return name
    end = f'~{blake2s(os.fsencode(name), digest_size=4).hexdigest()}'
    start = name
    while len(os.fsencode(start)) > most - len(end):
        start = start[:-1]
    return start + end


class ExistingFaceFiles:
    """The face files that exist in folders, by the name of their image; `endings` says what follows a face's number in each folder."""

    def __init__(self, endings: Mapping[Path, str]) -> None:
        self._endings = endings
        # Each folder is listed only once: testing a hundred face numbers per image would take long. Its face numbers are kept by the
        # names of images, since the paths of all files would take much memory.
        self._listed: dict[PurePosixPath, dict[str, tuple[str, ...]]] = {}

    def of(self, name: PurePosixPath) -> tuple[Path, ...]:
        """Return the face files of the image `name`: NAME_00, NAME_01 and so on, in all folders."""
        if name.parent not in self._listed:
            self._listed[name.parent] = self._list(name.parent)
        numbers = self._listed[name.parent].get(name.name, ())
        paths = (folder / name.parent / f'{name.name}_{number}{end}' for folder, end in self._endings.items() for number in numbers)
        return tuple(path for path in paths if os.path.lexists(path))

    def _list(self, parent: PurePosixPath) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for folder, ending in self._endings.items():
            pattern = re.compile(rf'(.+)_(\d\d+){re.escape(ending)}', re.DOTALL)
            for file in os.listdir(folder / parent) if (folder / parent).is_dir() else ():
                match = pattern.fullmatch(file)
                if match is not None and match[2] not in found.get(match[1], ()):
                    found[match[1]] = (*found.get(match[1], ()), sys.intern(match[2]))
        return found


def remove_stale_faces(results: Results, record: ImageRecord) -> None:
    """Remove the faces of an earlier run that `results` replace, except those that are written again according to `record`."""
    written = {file for face in record.faces for file in face.files.values()}
    for path in results.existing_faces:
        if relative_name(path, results.folder) not in written:
            path.unlink(missing_ok=True)

"""Find, match and check the images of an evaluation before anything is computed."""

import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import overload

from PIL import Image as PillowImage
from PIL import UnidentifiedImageError
from tqdm import tqdm

from frex.data.sources import FolderSource
from frex.errors import FRExError
from frex.evaluation.costs import Cost, read_cost
from frex.utils.files import read_regular
from frex.utils.jpeg import CUT_JPEG, is_cut_jpeg
from frex.utils.text import abbreviate

# The longest name of a method: file systems allow 255 bytes for `cases_NAME_by_METRIC.jpg` with its temporary suffix.
MAX_NAME_BYTES = 100

# The names of the reference rows.
BILINEAR, GT = 'bilinear', 'GT'
# GFPGAN and `frex restore` add this to the name of an image's first face.
FIRST_FACE = '_00'
# The EXIF tag of the orientation, and the least of its values (5 to 8) that exchange width and height.
ORIENTATION, QUARTER_TURNS = 0x0112, 5
# Most images that are read or wait to be read at a time.
READ_AT_ONCE = 256


class FilePaths(Sequence[Path]):
    """The paths of `files`, which are relative to `folder`. They are kept as texts, since a million paths would take much memory."""

    def __init__(self, folder: Path, files: Iterable[str]) -> None:
        self.folder, self.files = folder, list(files)

    def __len__(self) -> int:
        return len(self.files)

    @overload
    def __getitem__(self, index: int) -> Path: ...

    @overload
    def __getitem__(self, index: slice) -> 'FilePaths': ...

    def __getitem__(self, index: int | slice) -> 'Path | FilePaths':
        return FilePaths(self.folder, self.files[index]) if isinstance(index, slice) else self.folder / self.files[index]


@dataclass(frozen=True)
class ImageFolder:
    """The images of a folder. `role` names it in messages and results: GT, LQ, or a method with its run.

    `files` maps each image's relative path without suffix to its file, also relative.
    """

    role: str
    folder: Path
    files: Mapping[str, str]

    def paths_of(self, names: Iterable[str]) -> FilePaths:
        """Return the files of the images called `names`, in that order; raise KeyError for a name that the folder lacks."""
        return FilePaths(self.folder, (self.files[name] for name in names))


@dataclass(frozen=True)
class ImageStats:
    """Sizes, formats and one checksum of a list of images.

    `formats` counts the images by file suffix. `sha256` is over the sorted lines `NAME SHA256`, so it is the same for the same images.
    """

    sizes: tuple[tuple[int, int], ...]
    """(width, height) of each image after its EXIF orientation is applied."""
    formats: Mapping[str, int]
    sha256: str


def list_image_folder(role: str, folder: Path) -> ImageFolder:
    """Find all images in and below `folder`.

    Raises FRExError where there is no image, or where two names differ in their suffix only.
    """
    names = FolderSource(folder, role).names
    stems = [strip_suffix(name) for name in names]
    twice = [name for name, count in Counter(stems).items() if count > 1]
    if twice:
        files = ', '.join(name for name in names if strip_suffix(name) == twice[0])
        raise FRExError(f'{role}: {folder} holds {files}, which have one name without suffix; keep one of them ({len(twice)} such names)')
    return ImageFolder(role, folder, dict(zip(stems, names, strict=True)))


def strip_suffix(name: str) -> str:
    """Return a relative path without its file suffix."""
    return PurePosixPath(name).with_suffix('').as_posix()


def match_first_faces(gt: ImageFolder, image_folder: ImageFolder) -> ImageFolder:
    """Return `image_folder` with NAME_00, the first face of an image, renamed to NAME.

    A name is kept where GT itself has NAME_00, where GT lacks NAME, and where the folder also holds NAME.
    """

    def name_in_gt(name: str) -> str:
        bare = name.removesuffix(FIRST_FACE)
        return bare if name not in gt.files and bare in gt.files and bare not in image_folder.files else name

    return ImageFolder(image_folder.role, image_folder.folder, {name_in_gt(name): path for name, path in image_folder.files.items()})


def compute_image_stats(image_folder: ImageFolder, names: Sequence[str]) -> ImageStats:
    """Decode the files of the images called `names` and return their statistics; raise FRExError for a damaged image."""
    paths = image_folder.paths_of(names)
    lines: list[str] = []
    sizes: list[tuple[int, int]] = []
    # Most images have a size that others have too, which is kept once.
    known: dict[tuple[int, int], tuple[int, int]] = {}
    with ThreadPoolExecutor() as readers:
        # The executor would begin all images at once, and keep what it read of each.
        for start in range(0, len(paths), READ_AT_ONCE):
            for sha256, size in readers.map(_read_digest_and_size, paths[start : start + READ_AT_ONCE]):
                lines.append(f'{names[len(lines)]} {sha256}\n')
                sizes.append(known.setdefault(size, size))
    digest = hashlib.sha256()
    for line in sorted(lines):
        digest.update(line.encode())
    return ImageStats(tuple(sizes), dict(Counter(path.suffix.lower().lstrip('.') for path in paths)), digest.hexdigest())


def _read_digest_and_size(path: Path) -> tuple[str, tuple[int, int]]:
    """Return the SHA-256 of an image file, and (width, height) after its EXIF orientation is applied.

    Raises FRExError where it cannot be decoded.
    """
    try:
        data = read_regular(path)
        if is_cut_jpeg(data):
            raise ValueError(CUT_JPEG)
        with PillowImage.open(io.BytesIO(data)) as image:
            # Decode it now, so that a damaged image does not end hours of work later.
            image.load()
            # OpenCV, which reads it for the metrics, rotates images upright.
            is_rotated = image.getexif().get(ORIENTATION, 1) >= QUARTER_TURNS
            size = image.size[::-1] if is_rotated else image.size
    except FRExError as error:
        raise FRExError(str(error)) from None
    except UnidentifiedImageError:
        # Pillow's own message names a buffer in memory.
        raise FRExError(f'{path}: cannot be read as an image (damaged, or of a kind that Pillow does not know)') from None
    except (OSError, EOFError, SyntaxError, ValueError, PillowImage.DecompressionBombError) as error:
        raise FRExError(f'{path}: cannot be read as an image ({error})') from None
    return hashlib.sha256(data).hexdigest(), size


@dataclass(frozen=True)
class Difference:
    """How a folder differs from GT: the names that it lacks (`missing`), and those that GT does not have (`extra`)."""

    role: str
    folder: Path
    missing: tuple[str, ...]
    extra: tuple[str, ...]

    def __str__(self) -> str:
        """Describe the difference in one line for a message."""
        lacks = f'lacks {len(self.missing)} of GT ({abbreviate(self.missing)})' if self.missing else ''
        has = f'has {len(self.extra)} that GT lacks ({abbreviate(self.extra)})' if self.extra else ''
        return f'{self.role} ({self.folder}) {" and ".join(filter(None, (lacks, has)))}'


def find_common_names(gt: ImageFolder, others: Sequence[ImageFolder], partial: bool) -> tuple[tuple[str, ...], tuple[Difference, ...]]:
    """Return the sorted names that all folders have, and how each of `others` differs from GT (none for a folder that does not).

    Raises FRExError, which lists the differences, where there are some and `partial` is false, or where no name is common to all.
    """
    differences = tuple(filter(None, (_compare_names(gt, other) for other in others)))
    common = set(gt.files).intersection(*(other.files for other in others))
    summary = '; '.join(map(str, differences))
    if not common:
        hint = next((f'; give {folder}?' for folder in (other.folder / 'images' for other in others) if folder.is_dir()), '')
        raise FRExError(f'no image of GT ({gt.folder}) is in all folders by its name without suffix: {summary}{hint}')
    if differences and not partial:
        raise FRExError(f'{summary}; correct the folders, or compare the {len(common)} that all have with --partial')
    return tuple(sorted(common)), differences


def _compare_names(gt: ImageFolder, other: ImageFolder) -> Difference | None:
    """Return how `other` differs from GT, None where both have the same names."""
    missing, extra = sorted(gt.files.keys() - other.files.keys()), sorted(other.files.keys() - gt.files.keys())
    return Difference(other.role, other.folder, tuple(missing), tuple(extra)) if missing or extra else None


def check_sizes(gt: ImageFolder, gt_stats: ImageStats, other: ImageFolder, stats: ImageStats, names: Sequence[str]) -> None:
    """Raise FRExError, which names the first such image, where images of `other` differ in size from their clean images.

    The entries of `gt_stats` and `stats` are in the order of `names`.
    """
    wrong = [index for index, sizes in enumerate(zip(gt_stats.sizes, stats.sizes, strict=True)) if sizes[0] != sizes[1]]
    if wrong:
        index = wrong[0]
        own, wanted = (f'{width} x {height}' for width, height in (stats.sizes[index], gt_stats.sizes[index]))
        raise FRExError(
            f'{other.folder / other.files[names[index]]}: is {own}, its clean image {gt.folder / gt.files[names[index]]} {wanted} '
            f'({len(wrong)} of {len(names)} images of {other.role}); '
            'nothing is resized here: bring both to one size, e.g. by a set that frex degrade --size N makes'
        )


@dataclass(frozen=True)
class Inputs:
    """All images of an evaluation.

    `names` are the images that are compared, in the order of all scores. `methods` holds one ImageFolder per run, `costs` the cost of a
    method, None where its runs recorded none. `stats` are by role. `differences` are the images that were left out, which only an
    evaluation with `partial` has.
    """

    names: tuple[str, ...]
    gt: ImageFolder
    lq: ImageFolder | None
    methods: Mapping[str, tuple[ImageFolder, ...]]
    costs: Mapping[str, Cost | None]
    stats: Mapping[str, ImageStats]
    differences: tuple[Difference, ...]

    @property
    def identical(self) -> tuple[tuple[str, ...], ...]:
        """Return the groups of roles whose images are the same, byte for byte."""
        roles: dict[str, list[str]] = {}
        for role, stats in self.stats.items():
            roles.setdefault(stats.sha256, []).append(role)
        return tuple(tuple(same) for same in roles.values() if len(same) > 1)


def read_inputs(methods: Mapping[str, Sequence[Path]], gt: Path, lq: Path | None, partial: bool) -> Inputs:
    """Find and check the images of all folders; `methods` maps each method's name to its folders, one per run.

    Raises FRExError for unusable names of methods, damaged images, a damaged `run.json`, and as `list_image_folder`, `find_common_names`
    and `check_sizes` do. The sizes of the images in `lq` are not checked.
    """
    _check_names(methods)
    clean = list_image_folder(GT, gt)
    degraded = None if lq is None else match_first_faces(clean, list_image_folder('LQ', lq))
    restored = {name: tuple(match_first_faces(clean, run) for run in _list_runs(name, folders)) for name, folders in methods.items()}
    runs = [image_folder for image_folders in restored.values() for image_folder in image_folders]
    others = [*runs, *([] if degraded is None else [degraded])]
    costs = {name: read_cost(folders) for name, folders in methods.items()}
    names, differences = find_common_names(clean, others, partial)
    folders = tqdm([clean, *others], desc='reading images', unit='folder', disable=None)
    stats = {folder.role: compute_image_stats(folder, names) for folder in folders}
    for run in runs:
        check_sizes(clean, stats[GT], run, stats[run.role], names)
    return Inputs(names, clean, degraded, restored, costs, stats, differences)


def _check_names(methods: Mapping[str, Sequence[Path]]) -> None:
    """Raise FRExError for a method without a folder, or whose name is reserved, too long, or not usable in file names and tables."""
    for name, folders in methods.items():
        if name.lower() in (BILINEAR.lower(), GT.lower(), 'lq'):
            raise FRExError(f'--restored {name}: {name} is the name of another row; give the method another name')
        if not name.strip() or not name.isprintable() or not {'/', '\\', '|'}.isdisjoint(name):
            raise FRExError(f'--restored {name!r}: a name is needed, of printable characters without / \\ |')
        if len(name.encode()) > MAX_NAME_BYTES:
            raise FRExError(f'--restored {name}: at most {MAX_NAME_BYTES} bytes of name are needed, since files are named after it')
        if not folders:
            raise FRExError(f'--restored {name}: no folder')


def _list_runs(name: str, folders: Sequence[Path]) -> list[ImageFolder]:
    """Return the images of each run of a method; with several runs the role is `NAME, run N`."""
    roles = [name] if len(folders) == 1 else [f'{name}, run {number}' for number in range(1, len(folders) + 1)]
    return [list_image_folder(role, folder) for role, folder in zip(roles, folders, strict=True)]

"""The folders of an evaluation, matched and checked before anything is calculated."""

import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image as PillowImage
from PIL import UnidentifiedImageError
from tqdm import tqdm

from frex.data.sources import FolderSource
from frex.errors import FRExError
from frex.evaluation.costs import Cost, read_cost
from frex.utils.text import first_of

# Of a method; file systems take 255 bytes for `cases_NAME_by_METRIC.jpg` and its temporary name.
LONGEST_NAME = 100


BILINEAR, GT = 'bilinear', 'GT'


# What `frex restore --aligned` and GFPGAN add to the name of the first face of an image.
FIRST_FACE = '_00'
# EXIF's tag, and the first of its values that exchange width and height.
ORIENTATION, QUARTER_TURNS = 0x0112, 5


@dataclass(frozen=True)
class ImageFolder:
    """`role` is what messages call it: GT, LQ, or a method's name; `files` are by name."""

    role: str
    folder: Path
    files: Mapping[str, Path]

    def of(self, names: Iterable[str]) -> tuple[Path, ...]:
        """The files of some images, in their order."""
        return tuple(self.files[name] for name in names)


@dataclass(frozen=True)
class ImageStats:
    """Of a list of images: sizes and formats with how many have them, and one sha256 over the sorted lines `NAME SHA256`."""

    sizes: tuple[tuple[int, int], ...]
    """Width and height of each image, upright."""
    formats: Mapping[str, int]
    sha256: str


def list_pictures(role: str, folder: Path) -> ImageFolder:
    """All images below `folder`; raises FRExError where there is none, or where two differ in their suffix alone."""
    names = FolderSource(folder, role).names
    stems = [stem(name) for name in names]
    twice = [name for name, count in Counter(stems).items() if count > 1]
    if twice:
        files = ', '.join(name for name in names if stem(name) == twice[0])
        raise FRExError(f'{role}: {folder} holds {files}, which have one name; keep one of them ({len(twice)} such names)')
    return ImageFolder(role, folder, {name: folder / file for name, file in zip(stems, names, strict=True)})


def stem(name: str) -> str:
    """A path without suffix."""
    return PurePosixPath(name).with_suffix('').as_posix()


def named_as(gt: ImageFolder, listing: ImageFolder) -> ImageFolder:
    """`listing` with NAME_00, the first face of an image, called NAME where GT has NAME and neither is there twice."""

    def name_in_gt(name: str) -> str:
        bare = name.removesuffix(FIRST_FACE)
        return bare if name not in gt.files and bare in gt.files and bare not in listing.files else name

    return ImageFolder(listing.role, listing.folder, {name_in_gt(name): path for name, path in listing.files.items()})


def examine(listing: ImageFolder, names: Sequence[str]) -> ImageStats:
    """Read every file; raises FRExError for one that is no image, or a damaged one."""
    with ThreadPoolExecutor() as readers:
        looks = list(readers.map(_look, listing.of(names)))
    lines = sorted(f'{name} {digest}\n' for name, (digest, _) in zip(names, looks, strict=True))
    formats = Counter(path.suffix.lower().lstrip('.') for path in listing.of(names))
    return ImageStats(tuple(size for _, size in looks), dict(formats), hashlib.sha256(''.join(lines).encode()).hexdigest())


def _look(path: Path) -> tuple[str, tuple[int, int]]:
    try:
        data = path.read_bytes()
        with PillowImage.open(io.BytesIO(data)) as picture:
            # A damaged one shall not end hours of work.
            picture.load()
            # OpenCV, which will read it, turns images upright.
            turned = picture.getexif().get(ORIENTATION, 1) >= QUARTER_TURNS
            size = picture.size[::-1] if turned else picture.size
    except UnidentifiedImageError:
        # Its own words name a buffer in memory.
        raise FRExError(f'{path}: cannot be read as an image (damaged, or of a kind that Pillow does not know)') from None
    except (OSError, EOFError, SyntaxError, ValueError, PillowImage.DecompressionBombError) as error:
        raise FRExError(f'{path}: cannot be read as an image ({error})') from None
    return hashlib.sha256(data).hexdigest(), size


@dataclass(frozen=True)
class Difference:
    """Names that `role` lacks, and those that it has beside GT's."""

    role: str
    folder: Path
    missing: tuple[str, ...]
    extra: tuple[str, ...]

    def __str__(self) -> str:
        lacks = f'lacks {len(self.missing)} of GT ({first_of(self.missing)})' if self.missing else ''
        has = f'has {len(self.extra)} that GT lacks ({first_of(self.extra)})' if self.extra else ''
        return f'{self.role} ({self.folder}) {" and ".join(filter(None, (lacks, has)))}'


def pair(gt: ImageFolder, others: Sequence[ImageFolder], partial: bool) -> tuple[tuple[str, ...], tuple[Difference, ...]]:
    """The names that all have, sorted, and how each of the others differs from GT.

    Raises FRExError, which says both, where some differ and `partial` is not asked for, or where no name is left.
    """
    differences = tuple(filter(None, (_difference(gt, other) for other in others)))
    common = set(gt.files).intersection(*(other.files for other in others))
    told = '; '.join(map(str, differences))
    if not common:
        hint = next((f'; give {folder}?' for folder in (other.folder / 'images' for other in others) if folder.is_dir()), '')
        raise FRExError(f'no image of GT ({gt.folder}) is in all folders by its name without suffix: {told}{hint}')
    if differences and not partial:
        raise FRExError(f'{told}; mend the folders, or compare the {len(common)} that all have with --partial')
    return tuple(sorted(common)), differences


def _difference(gt: ImageFolder, other: ImageFolder) -> Difference | None:
    missing, extra = sorted(gt.files.keys() - other.files.keys()), sorted(other.files.keys() - gt.files.keys())
    return Difference(other.role, other.folder, tuple(missing), tuple(extra)) if missing or extra else None


def check_sizes(gt: ImageFolder, gt_facts: ImageStats, other: ImageFolder, facts: ImageStats, names: Sequence[str]) -> None:
    """Raise FRExError, naming the first, for images that are not of their clean image's size."""
    wrong = [index for index, sizes in enumerate(zip(gt_facts.sizes, facts.sizes, strict=True)) if sizes[0] != sizes[1]]
    if wrong:
        index = wrong[0]
        own, wanted = (f'{width} x {height}' for width, height in (facts.sizes[index], gt_facts.sizes[index]))
        raise FRExError(
            f'{other.files[names[index]]}: is {own}, its clean image {gt.files[names[index]]} {wanted} '
            f'({len(wrong)} of {len(names)} images of {other.role}); bring both to one size, nothing is resized here'
        )


@dataclass(frozen=True)
class Inputs:
    """`names` are those that all folders have; `facts` are by role. A method has a listing for each run, and what they cost, if known."""

    names: tuple[str, ...]
    gt: ImageFolder
    lq: ImageFolder | None
    methods: Mapping[str, tuple[ImageFolder, ...]]
    costs: Mapping[str, Cost | None]
    facts: Mapping[str, ImageStats]
    differences: tuple[Difference, ...]

    @property
    def alike(self) -> tuple[tuple[str, ...], ...]:
        """Roles whose images are the same, byte for byte."""
        roles: dict[str, list[str]] = {}
        for role, facts in self.facts.items():
            roles.setdefault(facts.sha256, []).append(role)
        return tuple(tuple(same) for same in roles.values() if len(same) > 1)


def read_inputs(methods: Mapping[str, Sequence[Path]], gt: Path, lq: Path | None, partial: bool) -> Inputs:
    """Raises FRExError for names and folders that cannot be used, and as `pair` and `check_sizes` do."""
    _check_names(methods)
    clean = list_pictures(GT, gt)
    degraded = None if lq is None else named_as(clean, list_pictures('LQ', lq))
    restored = {name: tuple(named_as(clean, each) for each in _list_runs(name, folders)) for name, folders in methods.items()}
    runs = [listing for listings in restored.values() for listing in listings]
    others = [*runs, *([] if degraded is None else [degraded])]
    costs = {name: read_cost(folders) for name, folders in methods.items()}
    names, differences = pair(clean, others, partial)
    facts = {each.role: examine(each, names) for each in tqdm([clean, *others], desc='looking at files', unit='folder', disable=None)}
    for run in runs:
        check_sizes(clean, facts[GT], run, facts[run.role], names)
    return Inputs(names, clean, degraded, restored, costs, facts, differences)


def _check_names(methods: Mapping[str, Sequence[Path]]) -> None:
    for name, folders in methods.items():
        if name.lower() in (BILINEAR.lower(), GT.lower(), 'lq'):
            raise FRExError(f'--restored {name}: {name} is a row of its own; give the method another name')
        if not name.strip() or not name.isprintable() or not {'/', '\\', '|'}.isdisjoint(name):
            raise FRExError(f'--restored {name!r}: a name is needed, of printable characters without / \\ |')
        if len(name.encode()) > LONGEST_NAME:
            raise FRExError(f'--restored {name}: at most {LONGEST_NAME} bytes of name are needed, since files are named after it')
        if not folders:
            raise FRExError(f'--restored {name}: no folder')


def _list_runs(name: str, folders: Sequence[Path]) -> list[ImageFolder]:
    roles = [name] if len(folders) == 1 else [f'{name}, run {number}' for number in range(1, len(folders) + 1)]
    return [list_pictures(role, folder) for role, folder in zip(roles, folders, strict=True)]

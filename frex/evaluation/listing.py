"""The pictures of a folder by their names: paths below it, without suffix, by which sets are paired."""

import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from frex.data.sources import FolderSource
from frex.errors import FRExError

# What `frex restore --aligned` and GFPGAN add to the name of the first face of a picture.
FIRST_FACE = '_00'
# EXIF's tag, and the first of its values that exchange width and height.
ORIENTATION, QUARTER_TURNS = 0x0112, 5


@dataclass(frozen=True)
class Listing:
    """`role` is what messages call it: GT, LQ, or a method's name; `files` are by name."""

    role: str
    folder: Path
    files: Mapping[str, Path]

    def of(self, names: Iterable[str]) -> tuple[Path, ...]:
        """The files of some pictures, in their order."""
        return tuple(self.files[name] for name in names)


@dataclass(frozen=True)
class Facts:
    """Of a list of pictures: sizes and formats with how many have them, and one sha256 over the sorted lines `NAME SHA256`."""

    sizes: tuple[tuple[int, int], ...]
    """Width and height of each picture, upright."""
    formats: Mapping[str, int]
    sha256: str


def list_pictures(role: str, folder: Path) -> Listing:
    """All pictures below `folder`; raises FRExError where there is none, or where two differ in their suffix alone."""
    names = FolderSource(folder, role).names
    stems = [stem(name) for name in names]
    twice = [name for name, count in Counter(stems).items() if count > 1]
    if twice:
        files = ', '.join(name for name in names if stem(name) == twice[0])
        raise FRExError(f'{role}: {folder} holds {files}, which have one name; keep one of them ({len(twice)} such names)')
    return Listing(role, folder, {name: folder / file for name, file in zip(stems, names, strict=True)})


def stem(name: str) -> str:
    """A path without suffix."""
    return PurePosixPath(name).with_suffix('').as_posix()


def named_as(gt: Listing, listing: Listing) -> Listing:
    """`listing` with NAME_00, the first face of a picture, called NAME where GT has NAME and neither is there twice."""

    def name_in_gt(name: str) -> str:
        bare = name.removesuffix(FIRST_FACE)
        return bare if name not in gt.files and bare in gt.files and bare not in listing.files else name

    return Listing(listing.role, listing.folder, {name_in_gt(name): path for name, path in listing.files.items()})


def examine(listing: Listing, names: Sequence[str]) -> Facts:
    """Read every file; raises FRExError for one that is no picture, or a damaged one."""
    with ThreadPoolExecutor() as readers:
        looks = list(readers.map(_look, listing.of(names)))
    lines = sorted(f'{name} {digest}\n' for name, (digest, _) in zip(names, looks, strict=True))
    formats = Counter(path.suffix.lower().lstrip('.') for path in listing.of(names))
    return Facts(tuple(size for _, size in looks), dict(formats), hashlib.sha256(''.join(lines).encode()).hexdigest())


def _look(path: Path) -> tuple[str, tuple[int, int]]:
    try:
        data = path.read_bytes()
        with PillowImage.open(io.BytesIO(data)) as picture:
            # A damaged one shall not end hours of work.
            picture.load()
            # OpenCV, which will read it, turns pictures upright.
            turned = picture.getexif().get(ORIENTATION, 1) >= QUARTER_TURNS
            size = picture.size[::-1] if turned else picture.size
    except UnidentifiedImageError:
        # Its own words name a buffer in memory.
        raise FRExError(f'{path}: cannot be read as a picture (damaged, or of a kind that Pillow does not know)') from None
    except (OSError, EOFError, SyntaxError, ValueError, PillowImage.DecompressionBombError) as error:
        raise FRExError(f'{path}: cannot be read as a picture ({error})') from None
    return hashlib.sha256(data).hexdigest(), size

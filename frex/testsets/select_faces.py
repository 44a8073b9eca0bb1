"""Which of the faces that were found make the set."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from frex.errors import FRExError
from frex.testsets.face_quality import hash_distance, likeness
from frex.testsets.scan import FoundFace, FoundPicture
from frex.utils.seeding import random_order

LOTS = 'collect'


@dataclass(frozen=True)
class Limits:
    """What a face must keep to; see `frex collect-real --help`. `occlusion` and `blur` are WIDER FACE's and bind annotated faces only."""

    min_face: float = 24.0
    max_face: float | None = None
    min_inside: float = 0.7
    min_sharpness: float = 0.0
    max_sharpness: float | None = None
    max_occlusion: int = 1
    blur: tuple[int, int] = (0, 2)
    hash_distance: int = 10
    per_picture: int | None = None

    def __post_init__(self) -> None:
        checks = {
            f'--min_face {self.min_face}: must be at least 0': self.min_face >= 0,
            f'--min_inside {self.min_inside}: must be from 0 to 1': 0 <= self.min_inside <= 1,
            f'--hash_distance {self.hash_distance}: must be from -1, which drops nothing, to 128': -1 <= self.hash_distance <= 128,
            f'--per_picture {self.per_picture}: must be at least 1': self.per_picture is None or self.per_picture >= 1,
        }
        for message, holds in checks.items():
            if not holds:
                raise FRExError(message)

    def rejection_reason(self, face: FoundFace, annotated: bool) -> str | None:
        """The first reason why a face is not taken, in the words of the flag that would take it."""
        wider = face.wider
        if wider is None and annotated:
            return 'not annotated by --wider'
        checks = {
            'landmarks fit no face': face.problem is None,
            'below --min_face': face.size >= self.min_face,
            'above --max_face': self.max_face is None or face.size <= self.max_face,
            'below --min_inside': face.inside >= self.min_inside,
            'below --min_sharpness': face.sharpness >= self.min_sharpness,
            'above --max_sharpness': self.max_sharpness is None or face.sharpness <= self.max_sharpness,
            'invalid by --wider': wider is None or not wider.invalid,
            'above --max_occlusion': wider is None or wider.occlusion <= self.max_occlusion,
            'out of --blur': wider is None or self.blur[0] <= wider.blur <= self.blur[1],
        }
        return next((reason for reason, holds in checks.items() if not holds), None)


@dataclass
class Selected:
    """`faces` by their names; `reasons` count what was not taken and why, `twins` name what a dropped face or image is like."""

    faces: dict[str, FoundFace] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    twins: dict[str, str] = field(default_factory=dict)


def select(pictures: Iterable[FoundPicture], num: int, limits: Limits, seed: int) -> Selected:
    """`num` faces at random from those within the limits, no two nearly alike; fewer where there are no more.

    A lot follows from seed and name. Of faces that are the same image the first at random stays.
    """
    selected = Selected()
    within = _within(_unlike(pictures, selected), limits, selected)
    per_picture: Counter[str] = Counter()
    for name in random_order(within, seed, LOTS):
        face, picture = within[name]
        if len(selected.faces) == num:
            selected.reasons['not drawn'] += 1
        elif limits.per_picture is not None and per_picture[picture] >= limits.per_picture:
            selected.reasons['above --per_picture'] += 1
        elif twin := find_near_duplicate(face, selected.faces, limits.hash_distance):
            selected.reasons['near-duplicate of another face'] += 1
            selected.twins[name] = twin
        else:
            selected.faces[name] = face
            per_picture[picture] += 1
    return selected


def _unlike(pictures: Iterable[FoundPicture], selected: Selected) -> list[FoundPicture]:
    """Images that can be read, each once: of those with the same bytes the first by name."""
    first: dict[str, FoundPicture] = {}
    for picture in sorted(pictures, key=lambda picture: picture.name):
        if picture.problem is not None:
            selected.reasons['images that cannot be read'] += 1
        elif picture.sha256 in first:
            selected.reasons['images with the bytes of another'] += 1
            selected.twins[picture.name] = first[picture.sha256].name
        else:
            first[picture.sha256] = picture
            selected.reasons['images without a face'] += not picture.faces
    return list(first.values())


def _within(pictures: Iterable[FoundPicture], limits: Limits, selected: Selected) -> dict[str, tuple[FoundFace, str]]:
    faces: dict[str, tuple[FoundFace, str]] = {}
    for picture in pictures:
        for face in picture.faces:
            reason = limits.rejection_reason(face, picture.annotated)
            if reason is None:
                faces[face.name] = (face, picture.name)
            else:
                selected.reasons[reason] += 1
    return faces


# Bits above the limit up to which faces are laid on each other, and how alike they must be then. Of 56 people, each found in 11
# versions, no two reached it, and 97 % of the versions did.
DOUBT = 20
ALIKE = 0.94


def find_near_duplicate(face: FoundFace, others: Mapping[str, FoundFace], distance: int) -> str | None:
    """The name of one that `face` or its mirror image is like, if any; None where `distance` is below 0.

    Alike are those whose hashes differ in at most `distance` bits, or in a few more if they are also alike laid on each other.
    """
    return next((name for name, other in others.items() if is_twin(face, other, distance)), None) if distance >= 0 else None


def is_twin(face: FoundFace, other: FoundFace, distance: int) -> bool:
    """See `find_near_duplicate`."""
    for mirrored in (False, True):
        bits = hash_distance(face.mirrored_hash if mirrored else face.hash, other.hash)
        if bits <= distance or (bits <= distance + DOUBT and likeness(face.small, other.small, mirrored) >= ALIKE):
            return True
    return False

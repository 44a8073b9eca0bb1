"""Select the faces of a test set from those that were found: within limits, at random, without near-duplicates."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from frex.errors import FRExError
from frex.testsets.face_quality import aligned_correlation, hash_distance
from frex.testsets.scan import FoundFace, ScannedImage
from frex.utils.seeding import shuffle_names

PURPOSE = 'collect'


@dataclass(frozen=True)
class Limits:
    """Limits on the faces to select; None stands for no limit.

    `min_face` and `max_face` bound the longer side of the face's box in pixels, `min_inside` the fraction of the aligned square inside the
    photograph, `min_sharpness` and `max_sharpness` the result of `measure_sharpness`. `max_occlusion` (0 to 2) and the range `blur` (0 to
    2) apply only to faces that WIDER FACE annotates. Near-duplicates are faces whose hashes differ in at most `hash_distance` of 128 bits,
    or in a few more where the faces also correlate (see `is_near_duplicate`); -1 keeps them. `per_picture` bounds the number of faces of
    one photograph. Raises FRExError for a `min_face`, `min_inside`, `hash_distance` or `per_picture` out of range.
    """

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
        """Return the first reason why a face is not within the limits, in words that name the flag of the limit, or None.

        `annotated` says whether WIDER FACE names the photograph; then faces without an annotation are rejected. A face whose landmarks fit
        no face is rejected, too.
        """
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
    """The selected `faces` by name; `reasons` counts the faces and photographs that were not taken, by reason.

    `near_duplicates` maps each face that was dropped as a near-duplicate, and each photograph with the bytes of another, to the one that it
    resembles.
    """

    faces: dict[str, FoundFace] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    near_duplicates: dict[str, str] = field(default_factory=dict)


def select_faces(scanned_images: Iterable[ScannedImage], num: int, limits: Limits, seed: int) -> Selected:
    """Select `num` faces at random from those within the limits, no two near-duplicates; fewer where there are no more.

    The random order depends on seed and name. Of several near-duplicates the first in that order is selected.
    """
    selected = Selected()
    within = _faces_within_limits(_drop_identical_images(scanned_images, selected), limits, selected)
    per_picture: Counter[str] = Counter()
    for name in shuffle_names(within, seed, PURPOSE):
        face, image_name = within[name]
        if len(selected.faces) == num:
            selected.reasons['not drawn'] += 1
        elif limits.per_picture is not None and per_picture[image_name] >= limits.per_picture:
            selected.reasons['above --per_picture'] += 1
        elif near_duplicate := find_near_duplicate(face, selected.faces, limits.hash_distance):
            selected.reasons['near-duplicate of another face'] += 1
            selected.near_duplicates[name] = near_duplicate
        else:
            selected.faces[name] = face
            per_picture[image_name] += 1
    return selected


def _drop_identical_images(scanned_images: Iterable[ScannedImage], selected: Selected) -> list[ScannedImage]:
    """Return the photographs that can be read, sorted by name; of those with equal bytes only the first.

    Adds to `selected` the number of the others, of which image each identical one is a copy, and the number of images without a face,
    which are returned too.
    """
    first: dict[str, ScannedImage] = {}
    for scanned in sorted(scanned_images, key=lambda scanned: scanned.name):
        if scanned.problem is not None:
            selected.reasons['images that cannot be read'] += 1
        elif scanned.sha256 in first:
            selected.reasons['images with the bytes of another'] += 1
            selected.near_duplicates[scanned.name] = first[scanned.sha256].name
        else:
            first[scanned.sha256] = scanned
            selected.reasons['images without a face'] += not scanned.faces
    return list(first.values())


def _faces_within_limits(scanned_images: Iterable[ScannedImage], limits: Limits, selected: Selected) -> dict[str, tuple[FoundFace, str]]:
    """Return the faces within the limits by name, each with the name of its photograph; count the others in `selected`."""
    faces: dict[str, tuple[FoundFace, str]] = {}
    for scanned in scanned_images:
        for face in scanned.faces:
            reason = limits.rejection_reason(face, scanned.annotated)
            if reason is None:
                faces[face.name] = (face, scanned.name)
            else:
                selected.reasons[reason] += 1
    return faces


# Faces whose hashes differ by up to UNCERTAIN_BITS more than the limit are near-duplicates if they correlate this much. Among 56
# people, each in 11 versions, no two people reached it, and 97 % of the versions of one person did.
UNCERTAIN_BITS = 20
MIN_CORRELATION = 0.94


def find_near_duplicate(face: FoundFace, others: Mapping[str, FoundFace], distance: int) -> str | None:
    """Return the name of a near-duplicate of `face` among `others`, None where there is none; `distance` is the limit, -1 for no search."""
    return next((name for name, other in others.items() if is_near_duplicate(face, other, distance)), None) if distance >= 0 else None


def is_near_duplicate(face: FoundFace, other: FoundFace, distance: int) -> bool:
    """Return whether `face`, or its mirror image, is a near-duplicate of `other`.

    It is one where their hashes differ in at most `distance` bits, or in up to UNCERTAIN_BITS more and the aligned faces correlate.
    """
    for mirrored in (False, True):
        bits = hash_distance(face.mirrored_hash if mirrored else face.hash, other.hash)
        if bits <= distance or (
            bits <= distance + UNCERTAIN_BITS and aligned_correlation(face.small, other.small, mirrored) >= MIN_CORRELATION
        ):
            return True
    return False

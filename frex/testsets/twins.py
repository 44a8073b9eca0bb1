"""Which faces are the same picture twice: larger or smaller, compressed, brightened or mirrored."""

from collections.abc import Mapping

from frex.testsets.found_faces import FoundFace
from frex.testsets.measures import hash_distance, likeness

# Bits above the limit up to which faces are laid on each other, and how alike they must be then. Of 56 people, each found in 11
# versions, no two reached it, and 97 % of the versions did.
DOUBT = 20
ALIKE = 0.94


def twin_of(face: FoundFace, others: Mapping[str, FoundFace], distance: int) -> str | None:
    """The name of one that `face` or its mirror image is like, if any; None where `distance` is below 0.

    Alike are those whose hashes differ in at most `distance` bits, or in a few more if they are also alike laid on each other.
    """
    return next((name for name, other in others.items() if is_twin(face, other, distance)), None) if distance >= 0 else None


def is_twin(face: FoundFace, other: FoundFace, distance: int) -> bool:
    """See `twin_of`."""
    for mirrored in (False, True):
        bits = hash_distance(face.mirrored_hash if mirrored else face.hash, other.hash)
        if bits <= distance or (bits <= distance + DOUBT and likeness(face.small, other.small, mirrored) >= ALIKE):
            return True
    return False

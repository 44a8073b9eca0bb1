"""Which pictures of several folders are the same: matched by name, never by position."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from frex.errors import FRExError
from frex.evaluation.listing import Facts, Listing
from frex.labelling.pictures import first_of


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


def pair(gt: Listing, others: Sequence[Listing], partial: bool) -> tuple[tuple[str, ...], tuple[Difference, ...]]:
    """The names that all have, sorted, and how each of the others differs from GT.

    Raises FRExError, which says both, where some differ and `partial` is not asked for, or where no name is left.
    """
    differences = tuple(filter(None, (_difference(gt, other) for other in others)))
    common = set(gt.files).intersection(*(other.files for other in others))
    told = '; '.join(map(str, differences))
    if not common:
        hint = next((f'; give {folder}?' for folder in (other.folder / 'images' for other in others) if folder.is_dir()), '')
        raise FRExError(f'no picture of GT ({gt.folder}) is in all folders by its name without suffix: {told}{hint}')
    if differences and not partial:
        raise FRExError(f'{told}; mend the folders, or compare the {len(common)} that all have with --partial')
    return tuple(sorted(common)), differences


def _difference(gt: Listing, other: Listing) -> Difference | None:
    missing, extra = sorted(gt.files.keys() - other.files.keys()), sorted(other.files.keys() - gt.files.keys())
    return Difference(other.role, other.folder, tuple(missing), tuple(extra)) if missing or extra else None


def check_sizes(gt: Listing, gt_facts: Facts, other: Listing, facts: Facts, names: Sequence[str]) -> None:
    """Raise FRExError, naming the first, for pictures that are not of their clean picture's size."""
    wrong = [index for index, sizes in enumerate(zip(gt_facts.sizes, facts.sizes, strict=True)) if sizes[0] != sizes[1]]
    if wrong:
        index = wrong[0]
        own, wanted = (f'{width} x {height}' for width, height in (facts.sizes[index], gt_facts.sizes[index]))
        raise FRExError(
            f'{other.files[names[index]]}: is {own}, its clean picture {gt.files[names[index]]} {wanted} '
            f'({len(wrong)} of {len(names)} pictures of {other.role}); bring both to one size, nothing is resized here'
        )

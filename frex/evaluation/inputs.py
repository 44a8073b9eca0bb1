"""The folders of an evaluation, matched and checked before anything is calculated."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from frex.errors import FRExError
from frex.evaluation.costs import Cost, read_cost
from frex.evaluation.listing import Facts, Listing, examine, list_pictures, named_as
from frex.evaluation.pairing import Difference, check_sizes, pair
from frex.evaluation.results import BILINEAR, GT

# Of a method; file systems take 255 bytes for `cases_NAME_by_METRIC.jpg` and its temporary name.
LONGEST_NAME = 100


@dataclass(frozen=True)
class Inputs:
    """`names` are those that all folders have; `facts` are by role. A method has a listing for each run, and what they cost, if known."""

    names: tuple[str, ...]
    gt: Listing
    lq: Listing | None
    methods: Mapping[str, tuple[Listing, ...]]
    costs: Mapping[str, Cost | None]
    facts: Mapping[str, Facts]
    differences: tuple[Difference, ...]

    @property
    def alike(self) -> tuple[tuple[str, ...], ...]:
        """Roles whose pictures are the same, byte for byte."""
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


def _list_runs(name: str, folders: Sequence[Path]) -> list[Listing]:
    roles = [name] if len(folders) == 1 else [f'{name}, run {number}' for number in range(1, len(folders) + 1)]
    return [list_pictures(role, folder) for role, folder in zip(roles, folders, strict=True)]

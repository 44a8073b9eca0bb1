"""What an ablation consists of: configurations to train, and checkpoints to take."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from frex.ablation.configurations import FULL, Configuration, equals_full, known_configurations, write_configurations
from frex.errors import FRExError
from frex.evaluation.inputs import BILINEAR, GT, LONGEST_NAME
from frex.peers.methods import NAME
from frex.weights.locate import require_file
from frex.weights.network_file import read_network

LEFT_OUT = 'the base lacks what it takes away, so that it would be the full configuration again'
DEFAULT_SIZE = 512
# Rows and roles of `frex.evaluation`.
RESERVED = (BILINEAR.lower(), GT.lower(), 'lq')


@dataclass(frozen=True)
class Plan:
    """`trained` and `taken` are rows of the table, in this order; `left_out` are others that were asked for, and why they are none."""

    trained: tuple[Configuration, ...]
    taken: Mapping[str, Sequence[Path]]
    left_out: Mapping[str, str]

    def size(self) -> int:
        """That of the images which all networks make; raises FRExError where it is not one, and for a damaged checkpoint."""
        sizes = {each.name: each.options['network_g'] for each in self.trained}
        sizes |= {str(path): read_network(path).arguments for paths in self.taken.values() for path in paths}
        by_size = {int(options.get('out_size', DEFAULT_SIZE)): name for name, options in sizes.items()}
        if len(by_size) != 1:
            told = ', '.join(f'{name} {size}' for size, name in sorted(by_size.items()))
            raise FRExError(f'the networks make images of several sizes ({told}), which cannot be compared')
        return next(iter(by_size))


def make_plan(configurations: Sequence[str], takes: Sequence[str], base: str, force_yml: Sequence[str], folder: Path) -> Plan:
    """All six of the paper unless `configurations` are named; those of `takes`, NAME=CHECKPOINT, are not trained.

    Option files of the others are written to `folder`. Raises FRExError for what is not known or not there.
    """
    taken = _read_takes(takes)
    names = [name for name in dict.fromkeys(configurations or known_configurations()) if Path(name).stem not in taken]
    _check_rows([*taken, *(Path(name).stem for name in names)])
    _check_files([FULL, *(name for name in names if name != FULL)])
    if not names:
        return Plan((), taken, {})
    # What a configuration takes away shows beside the full one, though that may not be asked for.
    full, *asked = write_configurations([FULL, *(name for name in names if name != FULL)], base, force_yml, folder)
    idle = {each.name: LEFT_OUT for each in asked if equals_full(each, full.options)}
    trained = ([full] if FULL in names else []) + [each for each in asked if each.name not in idle]
    return Plan(tuple(trained), taken, idle)


def _read_takes(takes: Sequence[str]) -> dict[str, list[Path]]:
    taken = defaultdict(list)
    for entry in takes:
        name, equals, file = entry.partition('=')
        if not equals or not name or '/' in name:
            raise FRExError(f'--take: {entry!r} is not of the form NAME=CHECKPOINT')
        try:
            taken[name].append(require_file(file))
        except FRExError as error:
            raise FRExError(f'--take: {name}: {error}') from None
    return dict(taken)


def _check_rows(names: Sequence[str]) -> None:
    """Folders and rows of the table are called so."""
    for name in names:
        if not NAME.fullmatch(name) or len(name.encode()) > LONGEST_NAME:
            raise FRExError(f'{name}: the name of a row has letters, digits and any of _ . + -, in at most {LONGEST_NAME} bytes')
        if name.lower() in RESERVED:
            raise FRExError(f'{name}: the table has a row of that name; take another')


def _check_files(names: Sequence[str]) -> None:
    """Option files are written by these names."""
    stems = [Path(name).stem for name in names]
    for stem in stems:
        if stems.count(stem) > 1:
            raise FRExError(f'--configurations: two are called {stem}; rename the file of one')

"""Plan an ablation: which configurations are trained, and which checkpoints are taken."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from frex.ablation.configurations import FULL, Configuration, equals_full, list_known_configurations, write_configurations
from frex.errors import FRExError
from frex.evaluation.inputs import BILINEAR, GT, MAX_NAME_BYTES
from frex.options.run import DEFAULT_SIZE
from frex.peers.methods import NAME
from frex.weights.download import obtain_file
from frex.weights.network_file import read_network

LEFT_OUT = 'the base already lacks what it removes, so that it would be the full configuration again'
# Names of rows and roles in `frex.evaluation`.
RESERVED = (BILINEAR.lower(), GT.lower(), 'lq')


@dataclass(frozen=True)
class Plan:
    """The rows of the table, in order: configurations that are `trained`, then checkpoints that are `taken`, by row.

    `left_out` are requested configurations without a row, with the reason.
    """

    trained: tuple[Configuration, ...]
    taken: Mapping[str, Sequence[Path]]
    left_out: Mapping[str, str]

    def output_size(self) -> int:
        """Return the width in pixels of the images that all networks output.

        Raises FRExError where the networks have different sizes, where there is no network, and for a damaged checkpoint.
        """
        by_size = {each.config.out_size: each.name for each in self.trained}
        for path in chain.from_iterable(self.taken.values()):
            by_size[int(read_network(path).arguments.get('out_size', DEFAULT_SIZE))] = str(path)
        if not by_size:
            reasons = '; '.join(f'{name}: {reason}' for name, reason in self.left_out.items())
            raise FRExError(f'--configurations: none is left to compare ({reasons})')
        if len(by_size) != 1:
            sizes_by_name = ', '.join(f'{name} {size}' for size, name in sorted(by_size.items()))
            raise FRExError(f'the networks make images of several sizes ({sizes_by_name}), which cannot be compared')
        return next(iter(by_size))


def make_plan(configurations: Sequence[str], takes: Sequence[str], base: str, force_yml: Sequence[str], folder: Path) -> Plan:
    """Plan the `configurations`, all six of the paper where none is named; those in `takes`, NAME=CHECKPOINT, are not trained.

    CHECKPOINT is a file, or a key of the manifest, whose file is downloaded where it is missing. The option files of the configurations to
    train, and that of the full one, are written to `folder`. Raises FRExError for unknown configurations, for checkpoints and option files
    that are missing, and for names that cannot be used or clash.
    """
    taken = _read_takes(takes)
    names = [name for name in dict.fromkeys(configurations or list_known_configurations()) if Path(name).stem not in taken]
    _check_rows([*taken, *(Path(name).stem for name in names)])
    _check_files([FULL, *(name for name in names if name != FULL)])
    if not names:
        return Plan((), taken, {})
    # The full configuration is written even where it is not requested: others are compared with it.
    full, *requested = write_configurations([FULL, *(name for name in names if name != FULL)], base, force_yml, folder)
    idle = {each.name: LEFT_OUT for each in requested if equals_full(each, full.options)}
    trained = ([full] if FULL in names else []) + [each for each in requested if each.name not in idle]
    return Plan(tuple(trained), taken, idle)


def _read_takes(takes: Sequence[str]) -> dict[str, list[Path]]:
    """Return the checkpoints of each row from texts NAME=CHECKPOINT; raise FRExError for another form or an unobtainable file."""
    taken = defaultdict(list)
    for entry in takes:
        name, equals, file = entry.partition('=')
        if not equals or not name or '/' in name:
            raise FRExError(f'--take: {entry!r} is not of the form NAME=CHECKPOINT')
        try:
            taken[name].append(obtain_file(file))
        except FRExError as error:
            raise FRExError(f'--take: {name}: {error}') from None
    return dict(taken)


def _check_rows(names: Sequence[str]) -> None:
    """Raise FRExError for names that cannot be used for folders and rows of the table."""
    for name in names:
        if not NAME.fullmatch(name) or len(name.encode()) > MAX_NAME_BYTES:
            raise FRExError(f'{name}: the name of a row has letters, digits and any of _ . + -, in at most {MAX_NAME_BYTES} bytes')
        if name.lower() in RESERVED:
            raise FRExError(f'{name}: the table has a row of that name; take another')


def _check_files(names: Sequence[str]) -> None:
    """Raise FRExError where two configurations would have the same option file."""
    stems = [Path(name).stem for name in names]
    for stem in stems:
        if stems.count(stem) > 1:
            raise FRExError(f'--configurations: two are called {stem}; rename the file of one')

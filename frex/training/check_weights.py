"""The check of a run's files before its folder is created: that weights fit its networks, and that images and labels are there.

Weights of the manifest that are missing are downloaded by it.
"""

import inspect
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY

from frex.errors import FRExError, nearest
from frex.losses.lpips_loss import TRUNKS
from frex.metrics.basicsr_functions import NETWORKS
from frex.metrics.feature_statistics import FeatureStatistics
from frex.metrics.fid import FID
from frex.models.critic import active_critics
from frex.models.objective import active_losses
from frex.options import SHIPPED_FOLDER, FRExConfig, RunConfig
from frex.options.convert import ComponentOptions
from frex.training.check_data import CheckedPath, check_data, forced, missing_data
from frex.utils.text import in_columns
from frex.weights.download import obtain_file
from frex.weights.manifest import manifest
from frex.weights.network_file import read_state
from frex.weights.priors import OFFICIAL, PRIORS, check_prior, differing_settings, read_prior
from frex.weights.state_dict import build_checked, check_fits
from frex.weights.torch_file import read_torch_file

# The start of the options that name the files which networks start from.
PREFIX = 'path.pretrain_network_'


class RequiredFile(NamedTuple):
    """A file, `name`, that an option names; `check` raises FRExError unless it fits, and `suggest_fix` returns a command that helps then.

    Both take the path of the file.
    """

    option: str
    name: str
    check: Callable[[Path], Any]
    suggest_fix: Callable[[Path], str]


def check_files(config: RunConfig, where: str) -> dict[str, Path]:
    """Check all files of a run, of models other than FREx's only what networks start from; return the paths of weights by their options.

    A file of the manifest that is missing is downloaded first. Raises FRExError, which starts with `where`, where files or folders cannot
    be used. For weights and for data that is missing a table on stderr says which, and what helps (see `check_weights`).
    """
    if not isinstance(config, FRExConfig):
        return check_weights(starting_files(config), [], where)
    check_statistics(config, where)
    found = check_weights([*starting_files(config), *frozen_networks(config)], missing_data(config.face_sets), where)
    check_data(config.face_sets, where)
    return found


def check_statistics(config: FRExConfig, where: str) -> None:
    """Read the statistics of clean images that FID compares with; raise FRExError where a file is missing, damaged or something else."""
    for name, metric in config.val.metrics.items():
        statistics = metric.arguments.get('statistics')
        if metric.type == FID.__name__ and statistics is not None:
            try:
                FeatureStatistics.load(Path(statistics).expanduser())
            except FRExError as error:
                raise FRExError(f'{where}: val.metrics.{name}.statistics: {error}') from None


def starting_files(config: RunConfig) -> list[RequiredFile]:
    """Return the files that the networks start from; for networks that a resumed run continues that is its state.

    The check of the state also finds those networks. The files of networks in `path.ignore_resume_networks` are as in a new run.
    """
    files = [_starting_file(config, option, name) for option, name in config.files.items() if not config.path.resumes(_network(option))]
    if config.path.resume_state:
        files.append(RequiredFile('path.resume_state', config.path.resume_state, partial(check_state, config), examine))
    return files


def _starting_file(config: RunConfig, option: str, name: str) -> RequiredFile:
    if not isinstance(config, FRExConfig):
        # BasicSR loads the files of other models, in its own ways.
        return RequiredFile(option, name, read_torch_file, examine)
    label = option.removeprefix(PREFIX)
    check, suggest_fix = (check_part, fix_part) if label in PRIORS else (check_network_file, fix_network_file)
    return RequiredFile(option, name, partial(check, config, label), partial(suggest_fix, config, label))


def _network(option: str) -> str:
    """Return the network, `g` or `d_CRITIC`, that starts from the file of an option."""
    label = option.removeprefix(PREFIX)
    return 'g' if label in PRIORS else label


def check_state(config: RunConfig, path: Path) -> None:
    """Raise FRExError unless a training state is whole, and the networks of its iteration are in the run's folder `models`.

    Networks in `path.ignore_resume_networks` may be missing.
    """
    read_torch_file(path)
    critics = active_critics(config) if isinstance(config, FRExConfig) else {}
    for label in ('g', *(f'd_{name}' for name in critics)):
        network = Path(config.path.models) / f'net_{label}_{path.stem}.pth'
        if config.path.resumes(label) and not network.is_file():
            raise FRExError(f'its {network} is not there')


def check_part(config: FRExConfig, part: str, path: Path) -> None:
    """Raise FRExError unless a file fits the part of net_g that `part`, a key of `PRIORS`, names."""
    with torch.device('meta'):
        check_prior(_build(config, 'network_g'), part, path)


def fix_part(config: FRExConfig, part: str, path: Path) -> str:
    """Return the options with which net_g fits the file, or the official file for the part where the file is of another network."""
    try:
        settings = differing_settings(read_prior(part, path), config.net_g.arguments)
    except FRExError:
        settings = {}
    if not settings:
        return forced(f'path.pretrain_network_{part}', OFFICIAL.get(part, '~'))
    values = {name: value for name, (value, _) in settings.items()}
    size = f' network_g:out_size={values.pop("out_size")}' if 'out_size' in values else ''
    own = {**(config.net_g.arguments.get(part) or {}), **values}
    flow = yaml.safe_dump(own, default_flow_style=True, width=10_000, sort_keys=False).strip()
    return f'--force_yml{size} {shlex.quote(f"network_g:{part}={flow}")}'


def check_network_file(config: FRExConfig, label: str, path: Path) -> None:
    """Raise FRExError unless a file has the requested weights and, where all of them are to be loaded, those of the network."""
    source = config.path.source(label)
    state = read_state(path, source.param_key)
    if source.strict:
        with torch.device('meta'):
            check_fits(_build(config, f'network_{label}'), state, str(path))


def fix_network_file(config: FRExConfig, label: str, path: Path) -> str:
    """Return the option that selects weights which the file has, where it lacks the requested ones, else the command that examines it."""
    requested = config.path.source(label).param_key
    other = [key for key in ('params', 'params_ema') if key != requested and _holds(path, key)]
    if other and not _holds(path, requested):
        return forced(f'path.param_key_{label}', other[0])
    return examine(path)


def examine(path: Path) -> str:
    """Return the command that says what a file holds."""
    return f'frex weights check {shlex.quote(str(path))}'


def _build(config: FRExConfig, key: str) -> Any:
    # Not by BasicSR's build_network, which opens the log before there is a folder for it.
    if key not in config.networks:
        raise FRExError(f'there is no {key} for it')
    return ARCH_REGISTRY.get(config.networks[key].type)(**config.networks[key].arguments)


def _holds(path: Path, param_key: str | None) -> bool:
    try:
        read_state(path, param_key)
    except FRExError:
        return False
    return True


def frozen_networks(config: FRExConfig) -> Iterator[RequiredFile]:
    """Yield the files of the frozen networks in losses and metrics."""
    losses = active_losses(config.train) if config.train is not None else {}
    for key, loss in losses.items():
        yield from _frozen_network(loss, LOSS_REGISTRY.get(loss.type), f'train.{key}.weights')
    for name, metric in config.val.metrics.items():
        yield from _frozen_network(metric, METRIC_REGISTRY.get(metric.type), f'val.metrics.{name}.weights')


def _frozen_network(component: ComponentOptions, kind: Callable[..., Any], option: str) -> Iterator[RequiredFile]:
    """Yield the file of a loss or metric that has an argument `weights`: the one in its options, or its default."""
    parameters = inspect.signature(kind).parameters
    if 'weights' not in parameters:
        return
    default = parameters['weights'].default
    official = TRUNKS[component.arguments.get('net', 'vgg')] if default == 'auto' else str(default)
    name = component.arguments.get('weights', official)
    if name is not None:
        build = partial(build_checked, NETWORKS.get(kind, kind), component.arguments, option)
        yield RequiredFile(option, str(name), lambda _: build(), lambda _: forced(option, official))


def check_weights(files: Iterable[RequiredFile], missing: list[CheckedPath], where: str) -> dict[str, Path]:
    """Return the paths of files by their options; download those of the manifest that are missing.

    Where a file cannot be obtained or used, or data is `missing`, the first process prints a table of all to stderr, and all raise
    FRExError, which starts with `where`.
    """
    found: dict[str, Path] = {}
    lines = [*(_check(file, found) for file in files), *missing]
    bad = [line.option for line in lines if line.problem]
    if not bad:
        return found
    if all(os.environ.get(rank, '0') == '0' for rank in ('RANK', 'SLURM_PROCID')):
        print(weights_table(lines), file=sys.stderr)
    what = 'files and folders' if missing else 'files'
    raise FRExError(f'{where}: {len(bad)} of {len(lines)} {what} cannot be used: {", ".join(bad)}')


def _check(file: RequiredFile, found: dict[str, Path]) -> CheckedPath:
    """Obtain and check one file, and put its path into `found`."""
    try:
        path = found[file.option] = obtain_file(file.name)
    except FRExError as error:
        problem, _, _ = str(error).partition(';')
        return CheckedPath(file.option, file.name, problem, _how_to_get(file.option, file.name))
    try:
        file.check(path)
    except FRExError as error:
        return CheckedPath(file.option, file.name, str(error).removeprefix(f'{path}: '), file.suggest_fix(path))
    return CheckedPath(file.option, file.name)


def _how_to_get(option: str, name: str) -> str:
    """Return the command that gets a file which is missing or damaged."""
    keys = {file.file: file.key for file in manifest().values()}
    key = name if name in manifest() else keys.get(Path(name).name)
    if key is not None:
        return f'frex weights download {key}' + ('' if key == name else f', and name it {key}')
    experiment = re.fullmatch(r'experiments/(\w+)/models/net_g_\w+\.pth', name)
    if experiment and (SHIPPED_FOLDER / f'{experiment[1]}.yml').exists():
        return f'frex train -opt options/{experiment[1]}.yml'
    return f'{forced(option, "FILE")} ({nearest(name, list(manifest()))})'


def weights_table(lines: list[CheckedPath]) -> str:
    """Return a table of all files, with the commands that help where one cannot be used."""
    rows = [('OPTION', 'FILE', 'STATE', 'FIX')]
    for line in lines:
        first, *others = line.fix.split('\n')
        rows.append((line.option, line.name, line.problem or 'fits', first))
        rows += [('', '', '', other) for other in others]
    return '\n'.join(in_columns(rows))

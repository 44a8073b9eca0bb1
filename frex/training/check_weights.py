"""The check, before anything is created, that a run's files exist: weights whole and fitting its networks, images and labels."""

import inspect
import os
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY

from frex.errors import FRExError, nearest
from frex.losses.lpips_loss import TRUNKS
from frex.metrics.basicsr_functions import NETWORKS
from frex.models.critic import critic_names
from frex.models.objective import idle_terms
from frex.options import SHIPPED_FOLDER, Options, arguments_of
from frex.utils.text import in_columns
from frex.weights.download import obtain_file
from frex.weights.manifest import manifest
from frex.weights.network_file import read_state
from frex.weights.priors import OFFICIAL, PRIORS, check_prior, differing_settings, read_prior
from frex.weights.state_dict import build_checked, check_fits
from frex.weights.torch_file import read_torch_file

PREFIX = 'pretrain_network_'


class CheckedPath(NamedTuple):
    """One file or folder; `problem` is empty where it can be used, else each line of `fix` is a command that helps."""

    option: str
    name: str
    problem: str = ''
    fix: str = ''


def preflight(opt: Options, where: str) -> None:
    """Replace names of files in `opt` by their paths; print a table and raise FRExError where a file or folder cannot be used."""
    found: dict[str, Path] = {}
    missing = missing_data(opt)
    lines = [*(_check(option, name, opt, found) for option, name in named_files(opt).items()), *missing]
    if any(line.problem for line in lines):
        if _is_first_process():
            print(weights_table(lines), file=sys.stderr)
        bad = [line for line in lines if line.problem]
        what = 'files and folders' if missing else 'files'
        raise FRExError(f'{where}: {len(bad)} of {len(lines)} {what} cannot be used: {", ".join(line.option for line in bad)}')
    for option, path in found.items():
        *sections, key = option.split('.')
        section = opt
        for part in sections:
            section = section[part]
        section[key] = str(path)


def named_files(opt: Options) -> dict[str, str]:
    """Return the names of files by their options. A resumed run starts from its own state, and loads no other weights into its networks."""
    path = opt['path']
    if path.get('resume_state'):
        named = {'path.resume_state': path['resume_state']}
    else:
        named = {f'path.{option}': name for option, name in path.items() if option.startswith(PREFIX)}
    named |= {
        f'{place}.weights': section.get('weights', _default_weights(section, kind))
        for place, (section, kind) in terms_with_frozen_network(opt).items()
    }
    return {option: str(name) for option, name in named.items() if name is not None}


def terms_with_frozen_network(opt: Options) -> dict[str, tuple[Options, Callable[..., Any]]]:
    """Return section and constructor of each loss and metric of FREx that has a frozen network, by its place in the options."""
    if opt['model_type'] != 'FRExModel':
        return {}
    losses = opt['train'] if opt['is_train'] else {}
    idle = idle_terms(losses.get('frozen_parts') or (), bool(losses.get('train_priors')))
    used = {key: loss for key, loss in losses.items() if key.endswith('_opt') and isinstance(loss, dict) and key not in idle}
    found = {f'train.{key}': (loss, LOSS_REGISTRY) for key, loss in used.items()}
    metrics = (opt.get('val') or {}).get('metrics') or {}
    found |= {f'val.metrics.{name}': (metric, METRIC_REGISTRY) for name, metric in metrics.items()}
    kinds = {place: (section, registry.get(section['type'])) for place, (section, registry) in found.items()}
    return {place: (section, kind) for place, (section, kind) in kinds.items() if 'weights' in inspect.signature(kind).parameters}


def _default_weights(section: Options, kind: Callable[..., Any]) -> str:
    """Return the key of the manifest that a loss or metric uses by default."""
    default = inspect.signature(kind).parameters['weights'].default
    return TRUNKS[section.get('net', 'vgg')] if default == 'auto' else str(default)


def weights_table(lines: list[CheckedPath]) -> str:
    """Return a table of all files, with the commands that help where one cannot be used."""
    rows = [('OPTION', 'FILE', 'STATE', 'FIX')]
    for line in lines:
        first, *others = line.fix.split('\n')
        rows.append((line.option, line.name, line.problem or 'fits', first))
        rows += [('', '', '', other) for other in others]
    return '\n'.join(in_columns(rows))


def missing_data(opt: Options) -> list[CheckedPath]:
    """Return the images and labels of the data sets that do not exist; none for models other than FREx's, which find theirs themselves."""
    if opt['model_type'] != 'FRExModel':
        return []
    lines = []
    for name, dataset in opt['datasets'].items():
        place, mix = f'datasets.{name}', dataset.get('mix')
        lines += _missing_faces(place, dataset, f'{place}.camera_labels', place if name.startswith('val') else '')
        if mix and _is_synthesized(mix):
            lines += _missing_synthesis(f'{place}.mix', Path(mix['dataroot_gt']))
        elif mix:
            lines += _missing_faces(f'{place}.mix', mix, f'{place}.mix', f'{place}.mix')
    return lines


def _missing_faces(place: str, section: Options, labels_option: str, root_option: str) -> list[CheckedPath]:
    """Return what is missing of one data set; setting `labels_option` or `root_option`, where given, to `~` does without it."""
    lines, root, labels = [], str(section['dataroot_gt']), section.get('camera_labels')
    if not _is_there(root):
        lines.append(
            CheckedPath(f'{place}.dataroot_gt', root, 'is not there', _or_without(_forced(f'{place}.dataroot_gt', 'FOLDER'), root_option))
        )
    if labels and not _is_there(labels):
        images, output = shlex.quote(root), shlex.quote(str(labels))
        ways = f'frex cameras import DATASET_JSON --images {images} -o {output}\nor frex cameras estimate {images} -o {output}'
        lines.append(CheckedPath(f'{place}.camera_labels', str(labels), 'is not there', _or_without(ways, labels_option)))
    return lines


def _missing_synthesis(place: str, root: Path) -> list[CheckedPath]:
    problem = 'is not there' if not _is_there(root) else '' if _is_there(root / 'dataset.json') else 'is not whole, it has no dataset.json'
    command = f'frex synthesize -o {shlex.quote(str(root.parent))} -n 100000'
    return [CheckedPath(place, str(root), problem, _or_without(command, place))] if problem else []


def _is_synthesized(mix: Options) -> bool:
    """Return whether the paths are those that `frex synthesize` writes."""
    root = Path(mix['dataroot_gt'])
    return root.name == 'images' and mix.get('camera_labels') == str(root / 'dataset.json')


def _is_there(name: str | Path) -> bool:
    """Return whether a file or folder exists; of one within a zip, whether the zip does."""
    path = Path(name).expanduser()
    return any(each.exists() for each in (path, *(parent for parent in path.parents if parent.suffix.lower() == '.zip')))


def _or_without(command: str, option: str) -> str:
    return command + (f'\nor without: {_forced(option, "~")}' if option else '')


def _is_first_process() -> bool:
    return all(os.environ.get(rank, '0') == '0' for rank in ('RANK', 'SLURM_PROCID'))


def _check(option: str, name: str, opt: Options, found: dict[str, Path]) -> CheckedPath:
    """Check one file and put its path into `found`."""
    try:
        path = found[option] = obtain_file(name)
    except FRExError as error:
        problem, _, _ = str(error).partition(';')
        return CheckedPath(option, name, problem, _how_to_get(option, name))
    try:
        _check_content(option, path, opt)
    except FRExError as error:
        return CheckedPath(option, name, str(error).removeprefix(f'{path}: '), suggest_fix(option, path, opt))
    return CheckedPath(option, name)


def _forced(option: str, value: str) -> str:
    return f'--force_yml {shlex.quote(option.replace(".", ":") + "=" + value)}'


def _how_to_get(option: str, name: str) -> str:
    """Return the command that gets a file which is missing or damaged."""
    keys = {file.file: file.key for file in manifest().values()}
    key = name if name in manifest() else keys.get(Path(name).name)
    if key is not None:
        return f'frex weights download {key}' + ('' if key == name else f', and name it {key}')
    experiment = re.fullmatch(r'experiments/(\w+)/models/net_g_\w+\.pth', name)
    if experiment and (SHIPPED_FOLDER / f'{experiment[1]}.yml').exists():
        return f'frex train -opt options/{experiment[1]}.yml'
    return f'--force_yml {option.replace(".", ":")}=FILE ({nearest(name, list(manifest()))})'


def _check_content(option: str, path: Path, opt: Options) -> None:
    """Raise FRExError unless the file can be loaded into what the options describe."""
    place, _, key = option.rpartition('.')
    part = key.removeprefix(PREFIX)
    if place in terms_with_frozen_network(opt):
        section, kind = terms_with_frozen_network(opt)[place]
        build_checked(NETWORKS.get(kind, kind), arguments_of(section, 'better'), option)
    elif key == 'resume_state':
        read_torch_file(path)
        _check_networks_of(path, opt)
    elif opt['model_type'] != 'FRExModel':
        # BasicSR loads the files of other models, in its own ways.
        read_torch_file(path)
    elif part in PRIORS:
        with torch.device('meta'):
            check_prior(_build(opt, 'network_g'), part, path)
    else:
        state = read_state(path, opt['path'].get(f'param_key_{part}', 'params'))
        if opt['path'].get(f'strict_load_{part}', True):
            with torch.device('meta'):
                check_fits(_build(opt, f'network_{part}'), state, str(path))


def _check_networks_of(state: Path, opt: Options) -> None:
    """Raise FRExError unless the networks of the state's iteration are in the folder of the run."""
    ignored = opt['path'].get('ignore_resume_networks') or []
    critics = [f'network_d_{name}' for name in critic_names(opt)]
    for network in (key for key in ('network_g', *critics) if key not in ignored):
        path = Path(opt['path']['models']) / f'net_{network.removeprefix("network_")}_{state.stem}.pth'
        if not path.is_file():
            raise FRExError(f'its {path} is not there')


def _build(opt: Options, network: str) -> Any:
    # Not by BasicSR's build_network, which opens the log before there is a folder for it.
    if opt.get(network) is None:
        raise FRExError(f'there is no {network} for it')
    return ARCH_REGISTRY.get(opt[network]['type'])(**arguments_of(opt[network]))


def suggest_fix(option: str, path: Path, opt: Options) -> str:
    """Return the command that helps with a file which can be read but does not fit."""
    place, _, key = option.rpartition('.')
    part = key.removeprefix(PREFIX)
    if place in terms_with_frozen_network(opt):
        return _forced(option, _default_weights(*terms_with_frozen_network(opt)[place]))
    if part not in PRIORS:
        return _other_weights(part, path, opt) or f'frex weights check {shlex.quote(str(path))}'
    return _other_arguments(part, path, opt) or _forced(option, OFFICIAL.get(part, '~'))


def _other_arguments(part: str, path: Path, opt: Options) -> str:
    """Return the options with which the network fits the file; empty where they already do, or where the file is of another network."""
    try:
        settings = differing_settings(read_prior(part, path), opt['network_g'])
    except FRExError:
        return ''
    values = {name: value for name, (value, _) in settings.items()}
    size = f' network_g:out_size={values.pop("out_size")}' if 'out_size' in values else ''
    own = {**(opt['network_g'].get(part) or {}), **values}
    flow = yaml.safe_dump(own, default_flow_style=True, width=10_000, sort_keys=False).strip()
    return f'--force_yml{size} {shlex.quote(f"network_g:{part}={flow}")}' if settings else ''


def _other_weights(part: str, path: Path, opt: Options) -> str:
    """Return the option that selects weights which the file has, where it lacks the requested ones."""
    requested = opt['path'].get(f'param_key_{part}', 'params')
    other = [key for key in ('params', 'params_ema') if key != requested and _holds(path, key)]
    return _forced(f'path.param_key_{part}', other[0]) if other and not _holds(path, requested) else ''


def _holds(path: Path, param_key: str) -> bool:
    try:
        read_state(path, param_key)
    except FRExError:
        return False
    return True

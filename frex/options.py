"""Option files: YAML with inheritance, typed sections, and the dictionary that BasicSR's pipelines expect."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_type_hints

import msgspec
import yaml

from frex.errors import FRExError, nearest

T = TypeVar('T')
Options = dict[str, Any]


def _shipped_folder() -> Path:
    """Return the folder of the option files that come with FREx: `options` of a checkout, or the wheel's copy of it."""
    package = Path(__file__).resolve().parent
    copy = package / 'option_files'
    return copy if copy.is_dir() else package.parent / 'options'


SHIPPED_FOLDER = _shipped_folder()


class _Loader(yaml.SafeLoader):
    """Safe YAML, in which 1e-4 is a number as in YAML 1.2 and everywhere else."""


class OptionLoader(_Loader):
    """The same loader for an open file; reads the file that it names under `_base_`, too."""

    def get_single_data(self) -> Any:
        """Return the content of the file, merged over that of its `_base_`."""
        opt = super().get_single_data()
        return _with_base(opt, Path(self.name)) if isinstance(opt, dict) else opt


_Loader.add_implicit_resolver('tag:yaml.org,2002:float', re.compile(r'^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$'), list('-+.0123456789'))


@dataclass(frozen=True)
class DistOptions:
    """The section `dist_params`: BasicSR's keys, and the minutes that processes wait for each other."""

    backend: Literal['nccl', 'gloo'] = 'nccl'
    port: int | None = None
    """For Slurm; torchrun has its own."""
    timeout: float | None = None

    def arguments(self, num_gpu: int) -> Options:
        """Return the arguments of BasicSR's `init_dist`."""
        timeout = None if self.timeout is None else timedelta(minutes=self.timeout)
        return vars(self) | {'timeout': timeout, 'backend': self.backend if num_gpu else 'gloo'}


def find_option_file(name: str) -> Path:
    """Return the option file `name` of the working directory, else the one that comes with FREx; its `options/` may be left out.

    Raises FRExError, which lists the files that there are.
    """
    shipped = SHIPPED_FOLDER / Path(name).relative_to('options') if Path(name).parts[:1] == ('options',) else SHIPPED_FOLDER / name
    for path in (Path(name), shipped):
        if path.is_file():
            return path
    folder = Path(name).parent
    own = sorted(str(path) for path in folder.glob('*.yml')) if folder.is_dir() else []
    raise FRExError(f'-opt: no file {name}; option files in {folder}: {", ".join(own) or "none"}; those of FREx: frex options list')


def load_options(path: Path) -> Options:
    """Read an option file; its keys override those of the file that it names under `_base_`."""
    return _with_base(_read_yaml(path), path)


def _with_base(opt: Options, path: Path) -> Options:
    if '_base_' not in opt:
        return opt
    base_path = path.parent / str(opt.pop('_base_'))
    if not base_path.is_file():
        raise FRExError(f'{path}: _base_: no file {base_path}')
    return merge(load_options(base_path), opt)


def _read_yaml(path: Path) -> Options:
    try:
        opt = yaml.load(path.read_text(encoding='utf-8'), Loader=_Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise FRExError(f'{path}: not a readable YAML file ({" ".join(str(error).split())})') from None
    if not isinstance(opt, dict):
        raise FRExError(f'{path}: an option file is a mapping of keys to values, this one holds a {type(opt).__name__}')
    return opt


def merge(base: Options, changes: Options) -> Options:
    """Merge `changes` into a copy of `base`, key by key; a mapping of another `type` replaces the whole mapping."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and value.get('type', old.get('type')) == old.get('type'):
            value = merge(old, value)
        merged[key] = value
    return merged


def override(opt: Options, entry: str) -> Options:
    """Apply one `--force_yml` entry, `section:key=value`, to a copy of `opt`; raise FRExError where a section does not exist."""
    keys, equals, value = entry.partition('=')
    path = [key.strip() for key in keys.split(':')]
    if not equals or not path[-1]:
        raise FRExError(f'--force_yml: {entry!r} is not of the form section:key=value')
    here: Any = opt
    for depth, section in enumerate(path[:-1]):
        here = here.get(section)
        if not isinstance(here, dict):
            raise FRExError(f'--force_yml: no section {":".join(path[: depth + 1])!r} to change a key of; {nearest(section, list(opt))}')
    try:
        return _with(opt, path, yaml.load(value, Loader=_Loader))
    except yaml.YAMLError:
        raise FRExError(f'--force_yml: the value of {keys} is not YAML: {value!r}') from None


def _with(section: Options, path: list[str], value: Any) -> Options:
    key, *rest = path
    return section | {key: _with(section[key], rest, value) if rest else value}


def convert(kind: type[T], mapping: Mapping[str, Any], where: str) -> T:
    """Make an instance of the dataclass `kind`; raise FRExError for an unknown, missing or mistyped key, which is named below `where`."""
    _check_keys(kind, mapping, where)
    try:
        return msgspec.convert(dict(mapping), kind)
    except msgspec.ValidationError as error:
        raise FRExError(f'{where}: {error}') from None


def _check_keys(kind: Any, mapping: Any, where: str) -> None:
    """Raise FRExError for a key that the dataclass `kind`, or one that it holds, does not have."""
    if not isinstance(mapping, Mapping):
        raise FRExError(f'{where}: a mapping of keys to values is needed, not {mapping!r}')
    hints = get_type_hints(kind)
    for key, value in mapping.items():
        if key not in hints:
            raise FRExError(f'{where}.{key}: unknown key; {nearest(str(key), list(hints))}')
        for part in (hints[key], *get_args(hints[key])):
            if is_dataclass(part) and value is not None:
                _check_keys(part, value, f'{where}.{key}')


def check_arguments(function: Callable[..., Any], arguments: Any, where: str) -> None:
    """Raise FRExError for a key of `arguments` that `function` does not take, or where they are no mapping."""
    if not isinstance(arguments, Mapping):
        raise FRExError(f'{where}: a mapping of keys to values is needed, not {arguments!r}')
    known = list(inspect.signature(function).parameters)
    for key in arguments:
        if key not in known:
            raise FRExError(f'{where}.{key}: unknown key; {nearest(str(key), known)}')


def arguments_of(section: Mapping[str, Any], *others: str) -> Options:
    """Return the arguments of a network, loss or metric: all keys of its section but `type` and `others`."""
    return {key: value for key, value in section.items() if key not in ('type', *others)}


@dataclass(frozen=True)
class RunOptions:
    """BasicSR's flags: the option file `opt`, changes `force_yml` to it (section:key=value), and how the run is started."""

    opt: str
    launcher: str = 'none'
    auto_resume: bool = False
    debug: bool = False
    force_yml: Sequence[str] | None = None


def requested_options(run: RunOptions) -> Options:
    """Read the option file of a run and apply `force_yml`; raise FRExError where one of them cannot be read."""
    opt = load_options(find_option_file(run.opt))
    for entry in run.force_yml or ():
        opt = override(opt, entry)
    return opt


def complete(opt: Options, run: RunOptions, root: Path, is_train: bool, num_devices: int) -> Options:
    """Return a copy of `opt` with defaults, the folders of the run, and each data set's phase and seed; raise FRExError for bad ones."""
    for key in ('name', 'model_type', 'datasets', 'network_g'):
        if key not in opt:
            raise FRExError(f'{run.opt}: {key}: missing; {nearest(key, list(opt))}')
    _check_kinds(opt, run.opt)
    name = f'debug_{opt["name"]}' if run.debug and not opt['name'].startswith('debug') else opt['name']
    if '/' in name:
        raise FRExError(f'{run.opt}: name: {name!r} names a folder and cannot hold a slash')
    num_gpu = opt.get('num_gpu', 'auto')
    opt = merge({'manual_seed': 0, 'logger': {'print_freq': 100, 'save_checkpoint_freq': 5000, 'use_tb_logger': False}}, opt)
    if opt.get('val') is not None or not is_train:
        val = {'val_freq': 5000, 'save_img': False, 'suffix': None} | (opt.get('val') or {})
        opt = opt | {'val': val | {'metrics': {name: metric for name, metric in (val.get('metrics') or {}).items() if metric}}}
    opt |= {
        'name': name,
        'is_train': is_train,
        'auto_resume': run.auto_resume,
        'root_path': str(root),
        'num_gpu': num_devices if num_gpu == 'auto' else min(num_gpu, num_devices),
        'path': _paths(opt.get('path') or {}, root, name, is_train),
    }
    opt['datasets'] = {phase: _dataset(dataset, phase, opt) for phase, dataset in opt['datasets'].items() if dataset}
    if is_train and run.debug:
        opt = merge(opt, {'logger': {'print_freq': 1, 'save_checkpoint_freq': 8}} | ({'val': {'val_freq': 8}} if opt.get('val') else {}))
    return opt


def _check_kinds(opt: Options, where: str) -> None:
    sections = [key for key in opt if key in ('datasets', 'path', 'train', 'val', 'logger') or key.startswith('network_')]
    for key in sections:
        if not isinstance(opt[key], dict) and (opt[key] is not None or key in ('datasets', 'network_g')):
            raise FRExError(f'{where}: {key}: a mapping of keys to values is needed, not {opt[key]!r}')
    if not isinstance(opt['name'], str):
        raise FRExError(f'{where}: name: a text is needed, not {opt["name"]!r}')
    if not isinstance(opt.get('num_gpu', 0), int) and opt['num_gpu'] != 'auto':
        raise FRExError(f"{where}: num_gpu: a number or 'auto' is needed, not {opt['num_gpu']!r}")


def _paths(path: Options, root: Path, name: str, is_train: bool) -> Options:
    expanded = {key: str(Path(value).expanduser()) if isinstance(value, str) else value for key, value in path.items()}
    if not is_train:
        results = root / 'results' / name
        return expanded | {'results_root': str(results), 'log': str(results), 'visualization': str(results / 'visualization')}
    experiment = root / 'experiments' / name
    folders = {folder: str(experiment / folder) for folder in ('models', 'training_states', 'visualization')}
    return expanded | folders | {'experiments_root': str(experiment), 'log': str(experiment)}


def _dataset(dataset: Options, phase: str, opt: Options) -> Options:
    roots = {key: str(Path(dataset[key]).expanduser()) for key in ('dataroot_gt', 'dataroot_lq', 'camera_labels') if dataset.get(key)}
    scale = {'scale': opt['scale']} if 'scale' in opt else {}
    seed = {} if dataset.get('type') != 'FaceDegradationDataset' else {'seed': opt['manual_seed']}
    # Without workers torch refuses to keep them; BasicSR validates without any.
    alone = {} if phase == 'train' and dataset.get('num_worker_per_gpu') else {'persistent_workers': False}
    return {'name': phase} | seed | dataset | roots | scale | alone | {'phase': phase.split('_')[0]}

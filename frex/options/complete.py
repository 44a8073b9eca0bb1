"""Completion of the options that a run's flags name: the dictionary that BasicSR's pipelines expect."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from frex.errors import FRExError, nearest
from frex.options.convert import Options
from frex.options.files import find_option_file, load_options, merge, override
from frex.options.sections import LoggerOptions, ValOptions


@dataclass(frozen=True)
class RunOptions:
    """BasicSR's flags: the option file `opt`, changes `force_yml` to it (section:key=value), and how the run is started.

    `launcher` is `none`, `pytorch` or `slurm`. With `auto_resume` the run continues from its newest training state. With `debug` it has the
    name `debug_NAME`, logs every iteration, and validates and saves every 8.
    """

    opt: str
    launcher: str = 'none'
    auto_resume: bool = False
    debug: bool = False
    force_yml: Sequence[str] | None = None


def requested_options(run: RunOptions) -> Options:
    """Read the option file of a run, with its bases, and apply `force_yml`; raise FRExError where one of them cannot be read.

    The result is what the user has written, without defaults; `complete` adds these.
    """
    opt = load_options(find_option_file(run.opt))
    for entry in run.force_yml or ():
        opt = override(opt, entry)
    return opt


def complete(opt: Options, run: RunOptions, root: Path, is_train: bool, num_devices: int) -> Options:
    """Return a copy of `opt` with defaults, the names of the run's folders, and the phase and seed of each data set.

    The folders lie below `root` and are not made. `is_train` is False for a test. `num_devices` is the number of GPUs here, which
    limits `num_gpu`. Raises FRExError where a key that every run needs is missing, a section is no mapping, or `name` holds a slash; the
    message starts with `run.opt`.
    """
    for key in ('name', 'model_type', 'datasets', 'network_g'):
        if key not in opt:
            raise FRExError(f'{run.opt}: {key}: missing; {nearest(key, list(opt))}')
    _check_kinds(opt, run.opt)
    name = f'debug_{opt["name"]}' if run.debug and not opt['name'].startswith('debug') else opt['name']
    if '/' in name:
        raise FRExError(f'{run.opt}: name: {name!r} names a folder and cannot hold a slash')
    num_gpu = opt.get('num_gpu', 'auto')
    opt = merge({'manual_seed': 0, 'logger': asdict(LoggerOptions())}, opt)
    if opt.get('val') is not None or not is_train:
        val = asdict(ValOptions()) | (opt.get('val') or {})
        opt = opt | {'val': val | {'metrics': {name: metric for name, metric in (val['metrics'] or {}).items() if metric}}}
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
    # BasicSR's loader needs the two keys that are given here in case the file leaves them out.
    own = {'seed': opt['manual_seed'], 'batch_size_per_gpu': 1, 'num_worker_per_gpu': 0}
    defaults = own if dataset.get('type') == 'FaceDegradationDataset' else {}
    # Without workers torch refuses to keep them; BasicSR validates without any.
    alone = {} if phase == 'train' and dataset.get('num_worker_per_gpu') else {'persistent_workers': False}
    return {'name': phase} | defaults | dataset | roots | scale | alone | {'phase': phase.split('_')[0]}

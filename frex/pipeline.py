"""BasicSR's training and test pipelines, with FREx registered and what a run needs checked before anything is created."""

import logging
import shlex
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml

from frex import compat
from frex.data.face_degradation_dataset import FaceDegradationDataset
from frex.data.sampler import VisitSampler
from frex.errors import FRExError, nearest
from frex.options import Options, check_arguments, complete, convert, read_options
from frex.weights.checkpoint import check_frex_arguments

compat.install()

import basicsr.test  # noqa: E402 (compat comes first)
import basicsr.train  # noqa: E402
from basicsr.data.data_sampler import EnlargedSampler  # noqa: E402
from basicsr.utils import check_resume, set_random_seed  # noqa: E402
from basicsr.utils.dist_util import get_dist_info, init_dist, master_only  # noqa: E402
from basicsr.utils.misc import mkdir_and_rename  # noqa: E402
from basicsr.utils.registry import ARCH_REGISTRY, MODEL_REGISTRY  # noqa: E402

from frex.models.critic import critic_names  # noqa: E402
from frex.models.train_options import TrainOptions  # noqa: E402
from frex.registry import register  # noqa: E402


def train(args: Namespace, on_log: Callable[[Options], None] | None = None) -> None:
    """BasicSR's `train_pipeline` on the options of `args`; outputs go below the working directory.

    `on_log` is called with each logged iteration, and keeps BasicSR's own log off the screen.
    """
    asked, opt = _prepare(args, is_train=True)
    pipeline: Any = basicsr.train
    pipeline.parse_options = lambda root_path, is_train: (_start_process(opt, args), args)
    pipeline.load_resume_state = load_resume_state
    pipeline.make_exp_dirs = make_folders
    pipeline.copy_opt_file = lambda opt_file, folder: write_options(asked, Path(folder) / Path(opt_file).name)
    pipeline.EnlargedSampler = choose_sampler
    pipeline.create_train_val_dataloader = _with_true_epochs(pipeline.create_train_val_dataloader)
    if on_log is not None:
        pipeline.get_root_logger = _quiet(pipeline.get_root_logger)
        pipeline.MessageLogger = lambda opt, start_iter, tb_logger: Listener(on_log, opt['train']['total_iter'])
    if not torch.cuda.is_available():
        pipeline.CUDAPrefetcher = lambda loader, opt: basicsr.train.CPUPrefetcher(loader)
    pipeline.train_pipeline(opt['root_path'])


def test(args: Namespace) -> None:
    """BasicSR's `test_pipeline` on the options of `args`; outputs go below the working directory."""
    _, opt = _prepare(args, is_train=False)
    pipeline: Any = basicsr.test
    pipeline.parse_options = lambda root_path, is_train: (_start_process(opt, args), args)
    pipeline.make_exp_dirs = make_folders
    pipeline.test_pipeline(opt['root_path'])


def _prepare(args: Namespace, is_train: bool) -> tuple[Options, Options]:
    register()
    asked = read_options(args)
    opt = complete(asked, args, Path.cwd(), is_train, torch.cuda.device_count())
    check(opt, args.opt)
    return asked, opt


def _start_process(opt: Options, args: Namespace) -> Options:
    opt['dist'] = args.launcher != 'none'
    if opt['dist']:
        init_dist(args.launcher, **(opt.get('dist_params', {}) if args.launcher == 'slurm' else {}))
    opt['rank'], opt['world_size'] = get_dist_info()
    set_random_seed(opt['manual_seed'] + opt['rank'])
    return opt


# --- Checks, before anything is created


def check(opt: Options, where: str) -> None:
    """Raise FRExError where a run could not start: model, networks, data, files."""
    if opt['model_type'] not in MODEL_REGISTRY:
        raise FRExError(f'{where}: model_type: no model {opt["model_type"]!r}; {nearest(opt["model_type"], list(MODEL_REGISTRY.keys()))}')
    for key, network in opt.items():
        if key.startswith('network_') and network is not None:
            check_network(network, f'{where}: {key}')
    if opt['is_train'] and opt['model_type'] == 'FRExModel':
        check_training(opt, where)
    for dataset in opt['datasets'].values():
        if dataset.get('type') == 'FaceDegradationDataset':
            check_dataset(dataset, opt, where)
    for key, path in opt['path'].items():
        if key.startswith('pretrain_network') and path is not None and not Path(path).is_file():
            raise FRExError(f'{where}: path.{key}: no file {path}')


def check_network(network: Options, where: str) -> None:
    """Raise FRExError for an unknown type, key or value, by building the network without storage."""
    kind = network.get('type')
    if kind not in ARCH_REGISTRY:
        raise FRExError(f'{where}.type: no network {kind!r}; {nearest(str(kind), list(ARCH_REGISTRY.keys()))}')
    constructor = ARCH_REGISTRY.get(kind)
    if constructor.__module__.split('.')[0] != 'frex_arch':
        return
    arguments = {key: value for key, value in network.items() if key != 'type'}
    check_arguments(constructor, arguments, where)
    if kind == 'FREx':
        check_frex_arguments(arguments, where)
    try:
        with torch.device('meta'):
            constructor(**arguments)
    except (TypeError, ValueError) as error:
        raise FRExError(f'{where}: {error}') from None


def check_training(opt: Options, where: str) -> None:
    """Raise FRExError for a mistyped `train` section, a critic without its loss, or no data to train on."""
    options = convert(TrainOptions, opt.get('train') or {}, f'{where}: train')
    for name in critic_names(opt):
        if getattr(options, f'{name}_gan_opt') is None:
            raise FRExError(f'{where}: train.{name}_gan_opt: missing, but there is a network_d_{name}')
    if 'train' not in opt['datasets']:
        raise FRExError(f'{where}: datasets.train: missing')


def check_dataset(dataset: Options, opt: Options, where: str) -> None:
    """Raise FRExError for data that cannot be trained on."""
    try:
        built = FaceDegradationDataset(dataset)
    except FRExError as error:
        raise FRExError(f'{where}: {error}') from None
    where = f'{where}: datasets.{dataset["phase"]}'
    if dataset['gt_size'] != opt['network_g'].get('out_size', 512):
        raise FRExError(f'{where}.gt_size: {dataset["gt_size"]}, but network_g.out_size is {opt["network_g"].get("out_size", 512)}')
    visits = len(built) * built.options.dataset_enlarge_ratio
    if dataset['phase'] == 'train' and visits < built.options.batch_size_per_gpu:
        raise FRExError(
            f'{where}: {len(built)} pictures are fewer than batch_size_per_gpu {built.options.batch_size_per_gpu}; '
            'add pictures or raise dataset_enlarge_ratio'
        )


# --- What takes the place of BasicSR's functions


@master_only
def make_folders(opt: Options) -> None:
    """The folders of a run; BasicSR's takes every other entry of `path` for a folder, too. An older run is renamed."""
    root = opt['path']['experiments_root' if opt['is_train'] else 'results_root']
    mkdir_and_rename(root)
    for key in ('models', 'training_states', 'visualization'):
        if key in opt['path']:
            Path(opt['path'][key]).mkdir(parents=True, exist_ok=True)


@master_only
def write_options(asked: Options, path: Path) -> None:
    """The options as asked for, with `_base_` and `--force_yml` worked in, so that the run can be started again from them."""
    header = f'# GENERATE TIME: {time.asctime()}\n# CMD:\n# {shlex.join(sys.argv)}\n\n'
    path.write_text(header + yaml.safe_dump(asked, sort_keys=False, allow_unicode=True), encoding='utf-8')


def load_resume_state(opt: Options) -> dict[str, Any] | None:
    """As BasicSR's, but in the folder that the run writes to, and on a machine without a GPU as well."""
    path = opt['path'].get('resume_state')
    if opt['auto_resume']:
        states = Path(opt['path']['training_states']).glob('*.state')
        newest = max(states, key=lambda state: int(state.stem), default=None)
        path = opt['path']['resume_state'] = str(newest) if newest else None
    if path is None:
        return None
    state = torch.load(path, map_location='cpu', weights_only=True)
    check_resume(opt, state['iter'])
    return state


class Listener:
    """Takes the place of BasicSR's MessageLogger."""

    def __init__(self, on_log: Callable[[Options], None], total_iter: int) -> None:
        self.on_log = on_log
        self.total_iter = total_iter

    def reset_start_time(self) -> None:
        """Nothing to time."""

    def __call__(self, log: Options) -> None:
        self.on_log(log | {'total_iter': self.total_iter})


def _quiet(get_root_logger: Callable[..., logging.Logger]) -> Callable[..., logging.Logger]:
    """Only warnings on the screen; the log file keeps everything."""

    def get_quiet_logger(*args: Any, **kwargs: Any) -> logging.Logger:
        logger = get_root_logger(*args, **kwargs)
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.setLevel(logging.WARNING)
        return logger

    return get_quiet_logger


def choose_sampler(dataset: Any, num_replicas: int, rank: int, ratio: int = 1) -> Any:
    """FREx's data set is asked by visit, any other by index."""
    if isinstance(dataset, FaceDegradationDataset):
        return VisitSampler(dataset, num_replicas, rank, ratio, dataset.options.seed)
    return EnlargedSampler(dataset, num_replicas, rank, ratio)


def _with_true_epochs(create: Callable[..., Any]) -> Callable[..., Any]:
    """BasicSR counts the last, dropped batch of an epoch, so that a small set stops too early."""

    def create_with_true_epochs(opt: Options, logger: Any) -> Any:
        loader, sampler, val_loaders, _, total_iters = create(opt, logger)
        return loader, sampler, val_loaders, -(-total_iters // max(1, len(loader))), total_iters

    return create_with_true_epochs

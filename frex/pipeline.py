"""BasicSR's training and test pipelines, with FREx registered and what a run needs checked before anything is created."""

import logging
import shlex
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import yaml

from frex import compat
from frex.data.face_degradation_dataset import FaceDegradationDataset
from frex.data.sampler import VisitSampler
from frex.errors import FRExError
from frex.options import Options, complete, read_options
from frex.weights.torch_file import read_torch_file

compat.install()

import basicsr.test  # noqa: E402 (compat comes first)
import basicsr.train  # noqa: E402
from basicsr.data.data_sampler import EnlargedSampler  # noqa: E402
from basicsr.utils import check_resume, set_random_seed  # noqa: E402
from basicsr.utils.dist_util import get_dist_info, init_dist, master_only  # noqa: E402
from basicsr.utils.misc import mkdir_and_rename  # noqa: E402

from frex.checks import check  # noqa: E402
from frex.preflight import preflight  # noqa: E402
from frex.registry import register  # noqa: E402


def train(args: Namespace, on_log: Callable[[Options], None] | None = None) -> None:
    """BasicSR's `train_pipeline` on the options of `args`; outputs go below the working directory.

    `on_log` is called with each logged iteration, and keeps BasicSR's own log off the screen.
    """
    asked, opt = _prepare(args, is_train=True)
    pipeline: Any = basicsr.train
    mends: dict[str, Any] = {
        'parse_options': lambda root_path, is_train: (_start_process(opt, args), args),
        'load_resume_state': load_resume_state,
        'make_exp_dirs': make_folders,
        'copy_opt_file': lambda opt_file, folder: write_options(asked, Path(folder) / Path(opt_file).name),
        'EnlargedSampler': choose_sampler,
        'create_train_val_dataloader': _with_true_epochs(pipeline.create_train_val_dataloader),
    }
    if on_log is not None:
        mends['get_root_logger'] = _quiet(pipeline.get_root_logger)
        mends['MessageLogger'] = lambda opt, start_iter, tb_logger: Listener(on_log, opt['train']['total_iter'])
    if not torch.cuda.is_available():
        mends['CUDAPrefetcher'] = lambda loader, opt: pipeline.CPUPrefetcher(loader)
    with mock.patch.multiple(pipeline, **mends):
        pipeline.train_pipeline(opt['root_path'])


def test(args: Namespace) -> None:
    """BasicSR's `test_pipeline` on the options of `args`; outputs go below the working directory."""
    _, opt = _prepare(args, is_train=False)
    pipeline: Any = basicsr.test
    mends = {'parse_options': lambda root_path, is_train: (_start_process(opt, args), args), 'make_exp_dirs': make_folders}
    with mock.patch.multiple(pipeline, **mends):
        pipeline.test_pipeline(opt['root_path'])


def _prepare(args: Namespace, is_train: bool) -> tuple[Options, Options]:
    register()
    asked = read_options(args)
    opt = complete(asked, args, Path.cwd(), is_train, torch.cuda.device_count())
    check(opt, args.opt)
    preflight(opt, args.opt)
    return asked, opt


def _start_process(opt: Options, args: Namespace) -> Options:
    opt['dist'] = args.launcher != 'none'
    if opt['dist']:
        init_dist(args.launcher, **(opt.get('dist_params', {}) if args.launcher == 'slurm' else {}))
    opt['rank'], opt['world_size'] = get_dist_info()
    set_random_seed(opt['manual_seed'] + opt['rank'])
    return opt


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
    state: dict[str, Any] = read_torch_file(Path(path))
    if not isinstance(state, dict) or not isinstance(state.get('iter'), int):
        raise FRExError(f'{path}: not a training state')
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
        if not len(loader):
            raise FRExError('datasets.train: not one batch in it; add pictures or raise dataset_enlarge_ratio')
        return loader, sampler, val_loaders, -(-total_iters // len(loader)), total_iters

    return create_with_true_epochs

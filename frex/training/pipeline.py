"""BasicSR's training and test pipelines, with FREx registered and what a run needs checked before anything is created."""

import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import basicsr.test
import basicsr.train
import torch
import torch.distributed as dist
import yaml
from basicsr.utils import check_resume
from basicsr.utils.dist_util import get_dist_info, master_only

from frex import compat
from frex.data.sampler import VisitSampler
from frex.errors import FRExError
from frex.models.scalars import forget_scalars_after, scalars_path
from frex.models.training_state import gather
from frex.options import FRExConfig, Options, RunConfig, RunOptions, complete, read_run, requested_options, with_option
from frex.registry import register
from frex.training.check_options import check_options
from frex.training.check_weights import check_files
from frex.training.run_folder import RunFolder, make_folders
from frex.training.train_log import CallbackTrainLog, TrainLog, quiet
from frex.utils.signals import StopSignal
from frex.weights.torch_file import read_torch_file


def train(run: RunOptions, on_log: Callable[[Options], None] | None = None) -> None:
    """Run BasicSR's `train_pipeline` on the options that `run` names; outputs go to `experiments/NAME` below the working directory.

    The folder of an older run of that name is renamed, unless this run continues it. Files are checked first, and missing ones of the
    manifest downloaded. `on_log`, where given, is called in every process with each logged iteration, a dictionary of BasicSR's log values
    and `total_iter`; the screen then shows only warnings and errors. Raises FRExError where a check fails or training must stop, and
    SystemExit after SIGTERM.
    """
    requested, opt, config = _prepare(run, is_train=True)
    pipeline: Any = basicsr.train
    stop, folder = StopSignal(), RunFolder(config.path)
    data = TrainingData(config, folder, pipeline.create_train_val_dataloader)
    replacements: dict[str, Any] = {
        'parse_options': lambda root_path, is_train: (compat.start_process(opt, config, run.launcher), run),
        'load_resume_state': data.load_resume_state,
        'make_exp_dirs': lambda _: folder.make(),
        'copy_opt_file': lambda opt_file, folder: write_options(requested, Path(folder) / Path(opt_file).name),
        'MessageLogger': lambda _, *arguments: TrainLog(config, *arguments),
        'build_model': _with_stop(pipeline.build_model, stop),
        'create_train_val_dataloader': data.create_loaders,
    }
    if on_log is not None:
        replacements['get_root_logger'] = quiet(pipeline.get_root_logger)
        replacements['MessageLogger'] = lambda _, *arguments: CallbackTrainLog(on_log, config, *arguments)
    with compat.replaced(pipeline, replacements), _process_group(), stop.listen(), closing(folder):
        pipeline.train_pipeline(str(Path.cwd()))


def test(run: RunOptions) -> None:
    """Run BasicSR's `test_pipeline` on the options that `run` names; outputs go to `results/NAME` below the working directory.

    An older folder of that name is renamed. Files are checked, and downloaded where missing, as in `train`. Raises FRExError where a check
    fails.
    """
    _, opt, config = _prepare(run, is_train=False)
    pipeline: Any = basicsr.test
    replacements = {
        'parse_options': lambda root_path, is_train: (compat.start_process(opt, config, run.launcher), run),
        'make_exp_dirs': lambda _: make_folders(config.path),
    }
    with compat.replaced(pipeline, replacements), _process_group():
        pipeline.test_pipeline(str(Path.cwd()))


def _prepare(run: RunOptions, is_train: bool) -> tuple[Options, Options, RunConfig]:
    """Return the options as requested, as BasicSR reads them, and typed; raise FRExError where a check fails.

    Nothing of the run is created, but missing weight files of the manifest are downloaded.
    """
    register()
    requested = requested_options(run)
    opt = complete(requested, run, Path.cwd(), is_train, torch.cuda.device_count())
    config = read_run(opt, run.opt)
    check_options(config, run.opt)
    if is_train and run.auto_resume:
        state = newest_state(Path(config.path.training_states)) or config.path.resume_state
        config = replace(config, path=replace(config.path, resume_state=state))
    found = check_files(config, run.opt)
    for option, path in found.items():
        opt = with_option(opt, option.split('.'), str(path))
    state = str(found['path.resume_state']) if config.path.resume_state else None
    return requested, opt, replace(config, path=replace(config.path, resume_state=state))


@contextmanager
def _process_group() -> Iterator[None]:
    """Leave the process group at the end of the block, which basicsr does not do."""
    try:
        yield
    finally:
        if dist.is_available() and dist.is_initialized():
            dist.destroy_process_group()


# --- Replacements of BasicSR's functions


@master_only
def write_options(requested: Options, path: Path) -> None:
    """Write the requested options, with `_base_` and `--force_yml` worked in, so that the run can be started again from the file.

    Only the first process writes. An existing file is replaced.
    """
    header = f'# GENERATE TIME: {time.asctime()}\n# CMD:\n# {shlex.join(sys.argv)}\n\n'
    path.write_text(header + yaml.safe_dump(requested, sort_keys=False, allow_unicode=True), encoding='utf-8')


class TrainingData:
    """Loads the state that a run is resumed from, and creates the data loaders, which go on from there.

    `create` is BasicSR's `create_train_val_dataloader`.
    """

    def __init__(self, config: RunConfig, folder: RunFolder, create: Callable[..., Any]) -> None:
        self.config = config
        self.folder = folder
        self.create = create
        self.resumed: dict[str, Any] | None = None

    def load_resume_state(self, opt: Options) -> dict[str, Any] | None:
        """Load the state to resume from, the one that the first process names; return None for a new run. BasicSR's needs a GPU.

        Also locks the folder of the run, removes incomplete files and later records of `scalars.jsonl` from it, and changes `opt` so that
        BasicSR loads the networks of that state. Raises FRExError where the state cannot be read.
        """
        path = gather(self.config.path.resume_state)[0]
        opt |= with_option(opt, ('path', 'resume_state'), path)
        if path is None:
            return None
        self.folder.resume()
        self.resumed = state = _read_state(Path(path))
        check_resume(opt, state['iter'])
        if isinstance(self.config, FRExConfig):
            opt['path'] |= resumed_sources(self.config)
        if get_dist_info()[0] == 0:
            forget_scalars_after(scalars_path(self.config), state['iter'])
        return state

    def create_loaders(self, opt: Options, logger: Any) -> Any:
        """Create loaders as `create_train_val_dataloader` does, but count epochs in batches that are really made, and resume within one.

        BasicSR counts the last, dropped batch of an epoch, so that a small set stops too early, and resumes at an epoch's start. Raises
        FRExError where the training set has not one batch.
        """
        loader, sampler, val_loaders, _, total_iters = self.create(opt, logger)
        if not len(loader):
            raise FRExError('datasets.train: not one batch in it; add images or raise dataset_enlarge_ratio')
        for each in (loader, *val_loaders):
            # With a generator of their own they do not draw from training's random numbers in each pass.
            each.generator = torch.Generator().manual_seed(self.config.manual_seed)
        if self.resumed is None or not isinstance(sampler, VisitSampler):
            return loader, sampler, val_loaders, -(-total_iters // len(loader)), total_iters
        epoch, iteration = self.resumed['epoch'], self.resumed['iter']
        done = iteration - epoch * len(loader)
        # With other processes or another batch size epochs have another length, and this one starts from its beginning.
        sampler.skipped = {epoch: done * self.config.datasets['train'].batch_size_per_gpu} if 0 <= done <= len(loader) else {}
        return loader, sampler, val_loaders, epoch - (iteration - total_iters) // len(loader) + 1, total_iters


def resumed_sources(config: FRExConfig) -> Options:
    """Return the options `param_key_*` and `strict_load_*` with which a resumed run loads its networks.

    For the run's own checkpoints they are those with which FREx saves; for networks that it ignores they are those of the option file.
    BasicSR would look for the option file's key in the run's own checkpoints, and change `params_ema` to `params` for ignored networks.
    """
    names = [key.removeprefix('network_') for key in config.networks]
    sources = {name: config.path.source(name) for name in names}
    keys = {f'param_key_{name}': source.param_key for name, source in sources.items()}
    return keys | {f'strict_load_{name}': source.strict for name, source in sources.items()}


def newest_state(folder: Path) -> str | None:
    """Return the newest readable state in `folder`, from which `--auto_resume` continues; None where there is no state.

    States are renamed when whole, so that a killed run leaves no half of one; a damaged one is skipped with a message. Raises
    FRExError where there are states but none can be read, since a new run would rename the old one's folder.
    """
    states = sorted((state for state in folder.glob('*.state') if state.stem.isdecimal()), key=lambda state: -int(state.stem))
    for state in states:
        try:
            _read_state(state)
        except FRExError as error:
            print(f'skipped: {error}', file=sys.stderr)
        else:
            return str(state)
    if states:
        raise FRExError(f'--auto_resume: no state in {folder} can be read; start anew without the flag, or name one by path.resume_state')
    return None


def _read_state(path: Path) -> dict[str, Any]:
    """Read a training state; raise FRExError where the file is damaged or holds something else."""
    state: Any = read_torch_file(path)
    if not isinstance(state, dict) or not all(isinstance(state.get(key), int) for key in ('epoch', 'iter')):
        raise FRExError(f'{path}: not a training state')
    return state


def _with_stop(build_model: Callable[..., Any], stop: StopSignal) -> Callable[..., Any]:
    """Return `build_model` with one addition: the model gets `stop`, which tells FREx's model to save and end."""

    def build_stoppable(opt: Options) -> Any:
        model = build_model(opt)
        model.stop = stop
        return model

    return build_stoppable

"""Patches that let basicsr 1.4.2 import and run on today's torch, torchvision, numpy and OpenCV, without touching its files.

They also let it run without a GPU, and give its own pipelines FREx's reading of options, sampler and loading of training states.
`frex train` and `frex test` use `start_process`, and pass other functions to these pipelines with `replaced`.

Each patch says what fails without it. Call `install` before the first `import basicsr`; calling it again changes nothing.
"""

import importlib
import os
import random
import signal
import subprocess
import sys
import threading
import types
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from frex.options import OptionLoader, Options, RunConfig, RunOptions, complete, find_option_file, read_run, requested_options, with_option


def install() -> None:
    """Make basicsr importable, and replace those of its functions that fail."""
    _provide_functional_tensor()
    degradations: Any = importlib.import_module('basicsr.data.degradations')
    degradations.add_jpg_compression = _wrap_jpeg_compression(degradations.add_jpg_compression)
    data: Any = importlib.import_module('basicsr.data')
    data.worker_init_fn = seed_worker
    prefetch: Any = importlib.import_module('basicsr.data.prefetch_dataloader')
    prefetch.PrefetchGenerator.run = _prefetch_run
    prefetch.PrefetchGenerator.__next__ = _prefetch_next
    dist_util: Any = importlib.import_module('basicsr.utils.dist_util')
    dist_util._init_dist_pytorch = init_process_group
    dist_util._init_dist_slurm = init_process_group_of_slurm
    base_model: Any = importlib.import_module('basicsr.models.base_model')
    base_model.BaseModel.model_to_device = _model_to_device
    _repair_pipelines()


@contextmanager
def replaced(module: Any, functions: Mapping[str, Any]) -> Iterator[None]:
    """Replace functions of a module, or methods of a class, by name during a `with` block; restore the original ones after it.

    BasicSR's pipelines look their helpers up in their own module and take none as arguments, so this is the only way to pass others. Raises
    AttributeError, and replaces nothing, where the module lacks one of them.
    """
    former = {name: getattr(module, name) for name in functions}
    for name, function in functions.items():
        setattr(module, name, function)
    try:
        yield
    finally:
        for name, function in former.items():
            setattr(module, name, function)


def _repair_pipelines() -> None:
    """Replace what BasicSR's own `train_pipeline` and `test_pipeline` call to read options, sample and prefetch faces, and load states."""
    options: Any = importlib.import_module('basicsr.utils.options')
    if options.parse_options is parse_options:
        return
    train: Any = importlib.import_module('basicsr.train')
    test: Any = importlib.import_module('basicsr.test')
    options.ordered_yaml = _wrap_ordered_yaml(options.ordered_yaml)
    options.parse_options = train.parse_options = test.parse_options = parse_options
    train.load_resume_state = _load_resume_state
    train.EnlargedSampler = choose_sampler
    train.CUDAPrefetcher = _choose_prefetcher


def _provide_functional_tensor() -> None:
    """Put a stand-in for `torchvision.transforms.functional_tensor`, which torchvision 0.17 removed, into `sys.modules`.

    It holds `rgb_to_grayscale` alone, which basicsr imports from there.
    """
    name = 'torchvision.transforms.functional_tensor'
    if name in sys.modules:
        return
    from torchvision.transforms.functional import rgb_to_grayscale

    module = types.ModuleType(name)
    module.rgb_to_grayscale = rgb_to_grayscale  # type: ignore[attr-defined]
    sys.modules[name] = module


def _wrap_jpeg_compression(add_jpg_compression: Any) -> Any:
    """Return `add_jpg_compression` with the quality rounded down: OpenCV 5 refuses the fractional qualities that basicsr draws."""
    if getattr(add_jpg_compression, 'is_patched', False):
        return add_jpg_compression

    def with_whole_quality(img: Any, quality: float = 90) -> Any:
        return add_jpg_compression(img, int(quality))

    with_whole_quality.is_patched = True  # type: ignore[attr-defined]
    return with_whole_quality


def seed_worker(worker_id: int, num_workers: int, rank: int, seed: int) -> None:
    """Seed numpy and `random` in a data loader's worker from torch's seed, which differs in each epoch.

    basicsr seeds them alike in each epoch, so that every epoch repeats the random numbers of the first. The worker then ends only at a
    SIGTERM of its parent process (not on macOS and Windows). `worker_id`, `num_workers` and `seed` are basicsr's arguments and not used.
    """
    import numpy as np
    import torch

    worker_seed = (torch.initial_seed() + rank) % 2**32
    np.random.seed(worker_seed)  # noqa: NPY002 (basicsr's data sets draw from it)
    random.seed(worker_seed)
    if hasattr(signal, 'sigwaitinfo'):
        _take_sigterm_from_parent_only()


def _take_sigterm_from_parent_only() -> None:
    """End this worker only at a SIGTERM of its parent process, and ignore one that is sent to the whole job.

    The main process handles that one, and still needs batches until it has saved.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def wait() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
            pass
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def _prefetch_run(self: Any) -> None:
    """Put the batches, and an exception of the loader, into the queue; in basicsr the trainer would wait for ever after an exception."""
    try:
        for item in self.generator:
            self.queue.put(item)
    except Exception as error:
        self.queue.put(error)
    self.queue.put(None)


def _prefetch_next(self: Any) -> Any:
    """Return the next batch, or raise the exception that `_prefetch_run` put into the queue in its place."""
    item = self.queue.get()
    if item is None:
        raise StopIteration
    if isinstance(item, Exception):
        raise item
    return item


def init_process_group(backend: str, timeout: timedelta | None = None, port: int | None = None) -> None:
    """Join the process group on the GPU of LOCAL_RANK; basicsr uses the rank modulo the number of GPUs, and divides by zero without one.

    Without a GPU the backend is gloo, whatever `backend` says. `timeout` None means torch's own. `port` is not used, since torchrun has set
    it in the environment.
    """
    import torch
    import torch.distributed as dist

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get('LOCAL_RANK', 0)))
    dist.init_process_group(backend=backend if torch.cuda.is_available() else 'gloo', timeout=timeout)


def init_process_group_of_slurm(backend: str, timeout: timedelta | None = None, port: int | None = None) -> None:
    """Set torchrun's environment variables from Slurm's, and join the process group as `init_process_group` does.

    The port is `port`, else MASTER_PORT, else 29500, as in basicsr. basicsr's own function, too, divides by zero without a GPU.
    """
    first = subprocess.run(
        ['scontrol', 'show', 'hostnames', os.environ['SLURM_NODELIST']], check=True, capture_output=True, text=True
    ).stdout.split()[0]
    os.environ |= {
        'MASTER_ADDR': first,
        'MASTER_PORT': str(port or os.environ.get('MASTER_PORT', 29500)),
        'WORLD_SIZE': os.environ['SLURM_NTASKS'],
        'RANK': os.environ['SLURM_PROCID'],
        'LOCAL_RANK': os.environ['SLURM_LOCALID'],
    }
    init_process_group(backend, timeout)


def _model_to_device(self: Any, net: Any) -> Any:
    """Move a network to the model's device; wrap it in DistributedDataParallel where the run is distributed and it has parameters to train.

    basicsr asks for the current GPU on a machine without one, and spreads one process over all GPUs that it sees.
    """
    import torch
    from torch.nn.parallel import DistributedDataParallel

    net = net.to(self.device)
    if not self.opt['dist'] or not any(parameter.requires_grad for parameter in net.parameters()):
        return net
    devices = [torch.cuda.current_device()] if self.device.type == 'cuda' else None
    return DistributedDataParallel(net, device_ids=devices, find_unused_parameters=self.opt.get('find_unused_parameters', False))


# --- BasicSR's own pipelines


def _wrap_ordered_yaml(ordered_yaml: Any) -> Any:
    """Return `ordered_yaml` with FREx's loader of option files: basicsr's reads 2e-3 as text, lacks `_base_`, and runs code in a file."""
    return lambda: (OptionLoader, ordered_yaml()[1])


def parse_options(root_path: str, is_train: bool = True) -> tuple[Options, RunOptions]:
    """Parse BasicSR's flags from the command line and read the option file that they name, as `frex train` does; join the other processes.

    `root_path` is the folder below which outputs are written. Returns the complete options and the parsed flags. basicsr's own function
    cannot read 2e-3 from `--force_yml`, runs code that is given there, and fails for an empty section.
    """
    parser = ArgumentParser(allow_abbrev=False)
    parser.add_argument('-opt', required=True, help='option file')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm'], default='none', help='job launcher')
    parser.add_argument('--auto_resume', action='store_true')
    parser.add_argument('--debug', action='store_true')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    parser.add_argument('--force_yml', nargs='+', help='change options, e.g. train:ema_decay=0.999')
    args = parser.parse_args()
    run = RunOptions(str(find_option_file(args.opt)), args.launcher, args.auto_resume, args.debug, args.force_yml)
    import torch

    opt = complete(requested_options(run), run, Path(root_path), is_train, torch.cuda.device_count())
    return start_process(opt, read_run(opt, run.opt), run.launcher), run


def start_process(opt: Options, config: RunConfig, launcher: str) -> Options:
    """Join the other processes of a run and seed this one with `manual_seed` + rank; return `opt` with `dist`, `rank` and `world_size`.

    `launcher` 'none' means one process, unless torchrun has started it. Such a process uses one GPU: `num_gpu` becomes 1 at most, and a
    line on stderr says how to use more.
    """
    import torch.multiprocessing as mp

    dist_util: Any = importlib.import_module('basicsr.utils.dist_util')
    utils: Any = importlib.import_module('basicsr.utils')
    # torchrun sets this variable, so no --launcher is needed.
    launcher = 'pytorch' if launcher == 'none' and 'TORCHELASTIC_RUN_ID' in os.environ else launcher
    is_distributed, num_gpu = launcher != 'none', config.num_gpu
    if not is_distributed and num_gpu > 1:
        print(f'one process takes one GPU; for all {num_gpu}: torchrun --nproc_per_node={num_gpu} -m frex ...', file=sys.stderr)
        # Otherwise basicsr's loader would make batches for all of them.
        num_gpu = 1
    if is_distributed:
        if mp.get_start_method(allow_none=True) is None and 'fork' in mp.get_all_start_methods():
            # Otherwise basicsr would have every worker of every process import torch anew in each epoch.
            mp.set_start_method('fork')
        dist_util.init_dist(launcher, **config.dist_params.arguments(num_gpu))
    rank, world_size = dist_util.get_dist_info()
    utils.set_random_seed(config.manual_seed + rank)
    return opt | {'dist': is_distributed, 'num_gpu': num_gpu, 'rank': rank, 'world_size': world_size}


def _load_resume_state(opt: Options) -> dict[str, Any] | None:
    """Return the training state from which a run continues, None for a new run; change `opt` so that its networks are loaded, too.

    With `auto_resume` it is the state of the highest iteration in the run's folder, else the one that `path.resume_state` names. basicsr's
    own function asks for a GPU, and looks for states below the working directory only.
    """
    import torch

    config = read_run(opt, 'options')
    path = config.path.resume_state
    if config.auto_resume:
        states = [state for state in Path(config.path.training_states).glob('*.state') if state.stem.isdecimal()]
        path = str(max(states, key=lambda state: int(state.stem))) if states else path
    if not path:
        return None
    opt |= with_option(opt, ('path', 'resume_state'), path)
    state = torch.load(path, map_location='cpu', weights_only=True)
    utils: Any = importlib.import_module('basicsr.utils')
    utils.check_resume(opt, state['iter'])
    return state


def choose_sampler(dataset: Any, num_replicas: int, rank: int, ratio: int = 1) -> Any:
    """Return FREx's sampler for FREx's data set, else basicsr's, whose plain indices would degrade a face alike in every epoch."""
    from frex.data.face_degradation_dataset import FaceDegradationDataset
    from frex.data.sampler import VisitSampler

    if isinstance(dataset, FaceDegradationDataset):
        return VisitSampler(dataset, num_replicas, rank, ratio, dataset.options.seed)
    sampler: Any = importlib.import_module('basicsr.data.data_sampler')
    return sampler.EnlargedSampler(dataset, num_replicas, rank, ratio)


def _choose_prefetcher(loader: Any, opt: Options) -> Any:
    """Return basicsr's CUDAPrefetcher for `loader` or, where there is no GPU, its CPUPrefetcher; the former fails without a GPU."""
    import torch

    prefetch: Any = importlib.import_module('basicsr.data.prefetch_dataloader')
    return prefetch.CUDAPrefetcher(loader, opt) if torch.cuda.is_available() else prefetch.CPUPrefetcher(loader)

"""What lets basicsr 1.4.2 import and run on today's torch, torchvision, numpy and OpenCV, without touching its files.

Each mend names what fails without it. `install` must come before the first `import basicsr`; it can be called again.
"""

import importlib
import os
import random
import signal
import subprocess
import sys
import threading
import types
from datetime import timedelta
from typing import Any


def install() -> None:
    """Make basicsr importable and put the mends in place."""
    _provide_functional_tensor()
    degradations: Any = importlib.import_module('basicsr.data.degradations')
    degradations.add_jpg_compression = _jpeg_with_whole_quality(degradations.add_jpg_compression)
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


def _provide_functional_tensor() -> None:
    """torchvision 0.17 removed `transforms.functional_tensor`, from which basicsr imports one function."""
    name = 'torchvision.transforms.functional_tensor'
    if name in sys.modules:
        return
    from torchvision.transforms.functional import rgb_to_grayscale

    module = types.ModuleType(name)
    module.rgb_to_grayscale = rgb_to_grayscale  # type: ignore[attr-defined]
    sys.modules[name] = module


def _jpeg_with_whole_quality(add_jpg_compression: Any) -> Any:
    """OpenCV 5 refuses the fractional JPEG quality that basicsr draws."""
    if getattr(add_jpg_compression, 'mended', False):
        return add_jpg_compression

    def mended(img: Any, quality: float = 90) -> Any:
        return add_jpg_compression(img, int(quality))

    mended.mended = True  # type: ignore[attr-defined]
    return mended


def seed_worker(worker_id: int, num_workers: int, rank: int, seed: int) -> None:
    """basicsr seeds numpy and random alike in every epoch, so that each epoch repeats the same draws; torch's seed differs."""
    import numpy as np
    import torch

    worker_seed = (torch.initial_seed() + rank) % 2**32
    np.random.seed(worker_seed)  # noqa: NPY002 (basicsr's data sets draw from it)
    random.seed(worker_seed)
    if hasattr(signal, 'sigwaitinfo'):
        _hear_only_the_parent()


def _hear_only_the_parent() -> None:
    """SIGTERM to a whole job is for its main process, which saves; its workers end when that tells them to."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def wait() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
            pass
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def _prefetch_run(self: Any) -> None:
    """In basicsr an exception in the prefetching thread leaves the trainer waiting for ever."""
    try:
        for item in self.generator:
            self.queue.put(item)
    except Exception as error:
        self.queue.put(error)
    self.queue.put(None)


def _prefetch_next(self: Any) -> Any:
    item = self.queue.get()
    if item is None:
        raise StopIteration
    if isinstance(item, Exception):
        raise item
    return item


def init_process_group(backend: str, timeout: timedelta | None = None, port: int | None = None) -> None:
    """basicsr takes rank modulo the number of GPUs for the GPU, and divides by zero without one; torchrun says LOCAL_RANK, and the port."""
    import torch
    import torch.distributed as dist

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get('LOCAL_RANK', 0)))
    dist.init_process_group(backend=backend if torch.cuda.is_available() else 'gloo', timeout=timeout)


def init_process_group_of_slurm(backend: str, timeout: timedelta | None = None, port: int | None = None) -> None:
    """The same division by zero; what Slurm says is put where torchrun would say it, the port as in basicsr."""
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
    """basicsr asks for the current GPU of a machine that has none, and spreads one process over all GPUs that it sees."""
    import torch
    from torch.nn.parallel import DistributedDataParallel

    net = net.to(self.device)
    if not self.opt['dist'] or not any(parameter.requires_grad for parameter in net.parameters()):
        return net
    devices = [torch.cuda.current_device()] if self.device.type == 'cuda' else None
    return DistributedDataParallel(net, device_ids=devices, find_unused_parameters=self.opt.get('find_unused_parameters', False))

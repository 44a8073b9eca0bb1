"""The log of a training run: a line on the console, scalars in TensorBoard and in `scalars.jsonl`."""

import logging
import sys
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import torch
from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import get_dist_info, master_only

from frex.models.scalars import append_scalars, scalars_path
from frex.options import Options, RunConfig

TIMES = ('time', 'data_time', 'images_per_second', 'memory_gb')


class TrainLog:
    """Takes the place of BasicSR's MessageLogger; adds images a second and memory to its line.

    Call it with BasicSR's values of an iteration: `epoch`, `iter`, `lrs`, `time`, `data_time`, and losses by name. It logs a line, appends
    to `scalars.jsonl`, and adds scalars to TensorBoard where `tb_logger` is given and the run is no debug run. Only the first process acts.
    """

    def __init__(self, config: RunConfig, start_iter: int = 0, tb_logger: Any = None) -> None:
        assert config.train is not None
        self.config = config
        self.total_iter = config.train.total_iter
        self.start_iter = start_iter
        self.tb_logger = None if config.name.startswith('debug') else tb_logger
        self.images = config.datasets['train'].batch_size_per_gpu * get_dist_info()[1]
        self.reset_start_time()

    def reset_start_time(self) -> None:
        """Start the clock anew; BasicSR does so after the first step, which is slower than the others."""
        self.start_time = time.monotonic()

    @master_only
    def __call__(self, log: Options) -> None:
        log = log | {'images_per_second': self.images / max(log['time'], 1e-9), 'memory_gb': memory_gb()}
        losses = {name: value for name, value in log.items() if name not in ('epoch', 'iter', 'lrs', *TIMES)}
        get_root_logger().info(self.line(log, losses))
        append_scalars(scalars_path(self.config), log)
        if self.tb_logger is not None:
            for name, value in (losses | {name: log[name] for name in TIMES}).items():
                self.tb_logger.add_scalar(f'losses/{name}' if name.startswith('l_') else name, value, log['iter'])
            for place, rate in enumerate(log['lrs']):
                self.tb_logger.add_scalar(f'lr_{place}' if place else 'lr', rate, log['iter'])

    def line(self, log: Mapping[str, Any], losses: Mapping[str, float]) -> str:
        """Return BasicSR's line, with images a second and peak memory, for the values of an iteration and its `losses`.

        Times are in seconds; the remaining time is extrapolated from that since `start_iter`.
        """
        rates = ''.join(f'{rate:.3e},' for rate in log['lrs'])
        done = log['iter'] - self.start_iter
        left = (self.total_iter - log['iter']) * (time.monotonic() - self.start_time) / max(done, 1)
        return (
            f'[{self.config.name[:5]}..][epoch:{log["epoch"]:3d}, iter:{log["iter"]:8,d}, lr:({rates})] '
            f'[eta: {timedelta(seconds=int(left))}, time (data): {log["time"]:.3f} ({log["data_time"]:.3f}), '
            f'{log["images_per_second"]:.1f} images/s, {log["memory_gb"]:.2f} GB] '
            + ' '.join(f'{name}: {value:.4e}' for name, value in losses.items())
        )


def memory_gb() -> float:
    """Return the peak memory in 10^9 bytes: of tensors on the GPU where there is one, else of this process.

    On Windows without a GPU it is NaN.
    """
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    if sys.platform == 'win32':
        return float('nan')
    import resource

    # In bytes on macOS, in units of 1024 elsewhere.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024) / 1e9


class CallbackTrainLog(TrainLog):
    """Also calls `on_log`, in every process, with the values of each logged iteration and `total_iter`."""

    def __init__(self, on_log: Callable[[Options], None], config: RunConfig, start_iter: int = 0, tb_logger: Any = None) -> None:
        super().__init__(config, start_iter, tb_logger)
        self.on_log = on_log

    def __call__(self, log: Options) -> None:
        self.on_log(log | {'total_iter': self.total_iter})
        super().__call__(log)


def quiet(get_logger: Callable[..., logging.Logger]) -> Callable[..., logging.Logger]:
    """Return `get_logger` changed so that the screen shows only warnings and errors; the log file keeps everything."""

    def get_quiet_logger(*args: Any, **kwargs: Any) -> logging.Logger:
        logger = get_logger(*args, **kwargs)
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.setLevel(logging.WARNING)
        return logger

    return get_quiet_logger

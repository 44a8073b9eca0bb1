"""What would end an ablation after its trainings, found before the first."""

from pathlib import Path

import torch

from frex.device import choose_device
from frex.errors import FRExError
from frex.evaluation import Settings
from frex.evaluation.listing import list_pictures, named_as
from frex.evaluation.pairing import pair
from frex.evaluation.poses import read_yaw
from frex.evaluation.scoring import Judge, Workload
from frex.metrics.catalogue import METRICS
from frex.metrics.gaussian import Gaussian


def check_inputs(gt: Path, lq: Path | None, cameras: Path | None, settings: Settings) -> None:
    """Raise FRExError for what `evaluate` would refuse.

    That is faces that only one of `gt` and `lq` has, or that have no label in `cameras`, and statistics, weights or a device
    that cannot be used.
    """
    choose_device(settings.device)
    clean = list_pictures('--gt', gt)
    if lq is not None:
        _, differences = pair(clean, [named_as(clean, list_pictures('--lq', lq))], partial=True)
        if differences:
            raise FRExError(f'{differences[0]}; both folders must hold the same faces')
    if cameras is not None:
        read_yaw(cameras, sorted(clean.files))
    _check_metrics(settings)


def _check_metrics(settings: Settings) -> None:
    """Load them all once, on the CPU: the GPU is for the trainings."""
    if settings.fid_statistics is not None:
        Gaussian.load(settings.fid_statistics)
    usable = [METRICS[key] for key in settings.metrics if METRICS[key].missing(settings.weights) is None]
    Judge(usable, Workload(settings.weights, torch.device('cpu'), settings.batch_size, settings.num_workers), settings.fid_statistics)

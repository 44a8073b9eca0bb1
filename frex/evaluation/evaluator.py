"""From folders to scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from frex.device import choose_device
from frex.errors import FRExError, nearest
from frex.evaluation.inputs import read_inputs
from frex.evaluation.protocol import describe_cameras, describe_inputs, describe_machine, describe_means, describe_metrics
from frex.evaluation.results import Evaluation
from frex.evaluation.scoring import ComputeOptions, Scorer, score_rows
from frex.evaluation.yaw_bins import bins_of, read_yaw
from frex.metrics.catalogue import METRICS
from frex.metrics.feature_statistics import FeatureStatistics
from frex.metrics.metric import Metric

PAPER = ('psnr', 'ssim', 'lpips', 'fid', 'niqe', 'deg')


@dataclass(frozen=True)
class Settings:
    """`metrics` are keys of the catalogue; without `fid_statistics` FID is against the clean images.

    `weights` is the folder of weights. `seed` is that of the bootstrap. `bin_degrees` is the width of the bins of |yaw|.
    With `partial` images that are not in all folders are left out, else they are an error.
    """

    metrics: tuple[str, ...] = PAPER
    fid_statistics: Path | None = None
    weights: Path | None = None
    device: str = 'auto'
    batch_size: int = 8
    num_workers: int = 4
    seed: int = 0
    bin_degrees: float = 15.0
    partial: bool = False

    def __post_init__(self) -> None:
        for key, least in (('batch_size', 1), ('num_workers', 0), ('seed', 0)):
            if not getattr(self, key) >= least:
                raise FRExError(f'--{key} {getattr(self, key)}: at least {least} is needed')
        if not 1 <= self.bin_degrees <= 180:
            raise FRExError(f'--bin_degrees {self.bin_degrees:g}: from 1 to 180 is needed')
        for key in self.metrics:
            if key not in METRICS:
                raise FRExError(f'--metrics {key}: unknown; {nearest(key, list(METRICS))}')
        if self.fid_statistics is not None and not any(METRICS[key].of_sets for key in self.metrics):
            raise FRExError('--fid_statistics: FID is not among the --metrics')


def evaluate(
    methods: Mapping[str, Sequence[Path]],
    gt: Path,
    lq: Path | None = None,
    cameras: Path | None = None,
    settings: Settings | None = None,
) -> Evaluation:
    """Score the folders of restored images of each method, one a run, against the clean images `gt`.

    `lq`, the degraded images, adds the row bilinear; `cameras`, EG3D's `dataset.json`, adds bins of |yaw|. Images are
    matched by relative name without suffix. Metrics whose weights are not there become gaps. Raises FRExError for folders
    that differ, for images that cannot be read or are not of their clean image's size, and for wrong settings.
    """
    settings = settings or Settings()
    device = choose_device(settings.device)
    metrics = tuple(METRICS[key] for key in dict.fromkeys(settings.metrics))
    gaps = _gaps(metrics, settings)
    inputs = read_inputs(methods, gt, lq, settings.partial)
    yaw = None if cameras is None else read_yaw(cameras, inputs.names)
    bins = bins_of(yaw, len(inputs.names), settings.bin_degrees)
    usable = [metric for metric in metrics if metric.key not in gaps]
    judge = Scorer(usable, ComputeOptions(settings.weights, device, settings.batch_size, settings.num_workers), settings.fid_statistics)
    protocol = (
        describe_inputs(inputs)
        | ({} if cameras is None else describe_cameras(cameras, settings.bin_degrees))
        | describe_metrics(metrics, usable, settings.weights)
        | judge.notes
        | describe_means(settings.seed)
        | describe_machine(device)
    )
    rows = score_rows(inputs, judge, usable, bins, settings.seed)
    return Evaluation(inputs.names, metrics, gaps, rows, bins, yaw, inputs.differences, protocol, inputs.alike)


def _gaps(metrics: Sequence[Metric], settings: Settings) -> dict[str, str]:
    """Which metrics cannot be calculated, and why; raises FRExError for statistics that cannot be read, also where FID is one of these."""
    if settings.fid_statistics is not None:
        FeatureStatistics.load(settings.fid_statistics)
    return {metric.key: reason for metric in metrics if (reason := metric.missing(settings.weights)) is not None}

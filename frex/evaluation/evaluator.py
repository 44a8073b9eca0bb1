"""Evaluate folders of restored images against the clean images: check all images, compute the metrics, collect the results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from frex.device import choose_device
from frex.errors import FRExError, nearest
from frex.evaluation.inputs import read_inputs
from frex.evaluation.protocol import describe_averages, describe_cameras, describe_inputs, describe_machine, describe_metrics
from frex.evaluation.pyiqa_scorer import start_pyiqa
from frex.evaluation.results import Evaluation
from frex.evaluation.scoring import ComputeOptions, Scorer, score_rows
from frex.evaluation.yaw_bins import make_bins, read_absolute_yaw
from frex.metrics.catalogue import METRICS
from frex.metrics.feature_statistics import FeatureStatistics
from frex.metrics.metric import Metric

# The metrics of the paper's tables.
PAPER_METRICS = ('psnr', 'ssim', 'lpips', 'fid', 'niqe', 'deg')


@dataclass(frozen=True)
class Settings:
    """How to evaluate.

    `metrics` are keys of `frex.metrics.catalogue`. FID compares with the statistics file `fid_statistics`, or with the clean images where
    that is None. `weights` is the folder in which weight files are searched for first (None: only the usual folders), `batch_size` the
    number of images that a network sees at once, `num_workers` the number of processes that read images (0: this one), `seed` the seed of
    the bootstrap, `bin_degrees` the width of a bin of the absolute yaw. With `partial` only the images that are in all folders are
    compared; without it a missing image is an error. `pyiqa` are names of pyiqa's metrics, which a process of the Python `pyiqa_python`
    computes (None: of this one).

    Raises FRExError for values out of range, unknown metrics, `fid_statistics` without FID, and `pyiqa_python` without `pyiqa`.
    """

    metrics: tuple[str, ...] = PAPER_METRICS
    fid_statistics: Path | None = None
    weights: Path | None = None
    device: str = 'auto'
    batch_size: int = 8
    num_workers: int = 4
    seed: int = 0
    bin_degrees: float = 15.0
    partial: bool = False
    pyiqa: tuple[str, ...] = ()
    pyiqa_python: Path | None = None

    def __post_init__(self) -> None:
        for key, least in (('batch_size', 1), ('num_workers', 0), ('seed', 0)):
            if not getattr(self, key) >= least:
                raise FRExError(f'--{key} {getattr(self, key)}: at least {least} is needed')
        if not 1 <= self.bin_degrees <= 180:
            raise FRExError(f'--bin_degrees {self.bin_degrees:g}: from 1 to 180 is needed')
        for key in self.metrics:
            if key not in METRICS:
                raise FRExError(f'--metrics {key}: unknown; {nearest(key, list(METRICS))}')
        if self.fid_statistics is not None and not any(METRICS[key].compares_sets for key in self.metrics):
            raise FRExError('--fid_statistics: FID is not among the --metrics')
        if self.pyiqa_python is not None and not self.pyiqa:
            raise FRExError('--pyiqa_python: no metric is named by --pyiqa')


def evaluate(
    methods: Mapping[str, Sequence[Path]],
    gt: Path,
    lq: Path | None = None,
    cameras: Path | None = None,
    settings: Settings | None = None,
) -> Evaluation:
    """Score each method's folders of restored images, one folder per run, against the clean images in `gt`.

    `methods` maps the name of each method to its folders. `lq`, the degraded images, adds the row bilinear; `cameras`, a `dataset.json` in
    EG3D's layout, adds results by |yaw|. Images are searched for in the folders and below, and matched by relative path without suffix;
    NAME_00, the first face of an image, counts as NAME. Missing weight files are downloaded. A metric whose files cannot be obtained gets
    no results but an entry in `gaps`.

    Raises FRExError where the folders hold different images (without `partial`), where an image cannot be read or differs in size from its
    clean image (`lq` may differ), where one has no camera in `cameras`, and for invalid settings.
    """
    settings = settings or Settings()
    device = choose_device(settings.device, needs_float64=True)
    metrics = tuple(METRICS[key] for key in dict.fromkeys(settings.metrics))
    inputs = read_inputs(methods, gt, lq, settings.partial)
    yaw = None if cameras is None else read_absolute_yaw(cameras, inputs.names)
    bins = make_bins(yaw, len(inputs.names), settings.bin_degrees)
    # It may download files, which should not come before a wrong folder is told.
    gaps = _find_gaps(metrics, settings)
    usable = [metric for metric in metrics if metric.key not in gaps]
    # First of all that takes long, so that a metric that pyiqa does not have is an error at once.
    with start_pyiqa(settings.pyiqa, settings.pyiqa_python, device) as outside:
        scorer = Scorer(
            usable, ComputeOptions(settings.weights, device, settings.batch_size, settings.num_workers), settings.fid_statistics
        )
        if outside is not None:
            metrics, usable = (*metrics, *outside.metrics), [*usable, *outside.metrics]
        protocol = (
            describe_inputs(inputs)
            | ({} if cameras is None else describe_cameras(cameras, settings.bin_degrees))
            | describe_metrics(metrics, usable, settings.weights)
            | scorer.notes
            | describe_averages(settings.seed)
            | describe_machine(device)
        )
        rows = score_rows(inputs, scorer, usable, bins, settings.seed, outside)
    return Evaluation(inputs.names, metrics, gaps, rows, bins, yaw, inputs.differences, protocol, inputs.identical)


def _find_gaps(metrics: Sequence[Metric], settings: Settings) -> dict[str, str]:
    """Return the metrics that cannot be computed: their keys, with the reason.

    Raises FRExError where the file `fid_statistics` cannot be read, even where FID cannot be computed for another reason.
    """
    if settings.fid_statistics is not None:
        FeatureStatistics.load(settings.fid_statistics)
    return {metric.key: reason for metric in metrics if (reason := metric.missing(settings.weights)) is not None}

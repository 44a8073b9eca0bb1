"""Summarize each metric of a method per bin of yaw: mean, bootstrap interval over images, and standard deviation over runs."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from scipy.stats import bootstrap  # type: ignore[import-untyped]

from frex.evaluation.results import ImageScores, Run, Summary
from frex.evaluation.yaw_bins import YawBin
from frex.metrics.metric import Metric

CONFIDENCE = 0.95
RESAMPLES = 1000
NAN = float('nan')
# The most numbers that resampling holds in memory at once.
MAX_NUMBERS = 1 << 22


def summarize(metrics: Sequence[Metric], runs: Sequence[Run], yaw_bins: Sequence[YawBin], seed: int) -> Mapping[str, tuple[Summary, ...]]:
    """Return the summaries of one row's `runs` by the metric's key, one per bin, in the order of `yaw_bins`.

    A metric that one of the runs has no scores of is left out. `seed` is that of the bootstrap.
    """
    summaries: dict[str, tuple[Summary, ...]] = {}
    for metric in metrics:
        if all(metric.key in run.set_scores for run in runs):
            summaries[metric.key] = tuple(
                _summarize_set_scores([run.set_scores[metric.key][index] for run in runs]) for index in range(len(yaw_bins))
            )
        elif all(metric.key in run.scores for run in runs):
            scores = np.stack([run.scores[metric.key] for run in runs])
            summaries[metric.key] = tuple(summarize_scores(scores[:, yaw_bin.members], seed) for yaw_bin in yaw_bins)
    return summaries


def summarize_scores(scores: Float[np.ndarray, 'run image'], seed: int) -> Summary:
    """Summarize the scores of some images, NaN where an image has none.

    Mean and interval are over images, each with its mean over the runs that scored it.
    """
    image_scores = np.array([mean_without_nan(image) for image in scores.T])
    low, high = bootstrap_interval(image_scores[~np.isnan(image_scores)], seed)
    spread = _spread([mean_without_nan(run) for run in scores])
    return Summary(mean_without_nan(image_scores), low, high, spread, int(np.isnan(scores).any(axis=0).sum()))


def mean_without_nan(scores: Float[np.ndarray, ' score']) -> float:
    """Return the mean of the scores that are not NaN; NaN where all are, or where there are none."""
    known = scores[~np.isnan(scores)]
    return float(known.mean()) if len(known) else NAN


def bootstrap_interval(scores: ImageScores, seed: int) -> tuple[float, float]:
    """Return (low, high) of the 95 % percentile bootstrap interval of the mean; NaN for fewer than two scores or an infinite one."""
    if len(scores) < 2 or not np.isfinite(scores).all():
        return NAN, NAN
    found = bootstrap(
        (scores,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=max(1, MAX_NUMBERS // len(scores)),
        confidence_level=CONFIDENCE,
        method='percentile',
        # All metrics and rows resample the same images.
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)


def _summarize_set_scores(values: Sequence[float]) -> Summary:
    """Summarize a metric of whole sets of images, such as FID, from one value per run; it has no interval over images."""
    return Summary(float(np.mean(values)), NAN, NAN, _spread(values), 0)


def _spread(values: Sequence[float]) -> float:
    """Return the sample standard deviation (n - 1) of one value per run; NaN for a single run or an infinite value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 and np.isfinite(values).all() else NAN

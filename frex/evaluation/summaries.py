"""From scores of images to means, their uncertainty and the spread over runs."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from scipy.stats import bootstrap  # type: ignore[import-untyped]

from frex.evaluation.results import PictureScores, Run, Summary
from frex.evaluation.yaw_bins import Bin
from frex.metrics.metric import Metric

CONFIDENCE = 0.95
RESAMPLES = 1000
NAN = float('nan')
# Numbers that are held at a time while resampling.
MOST_NUMBERS = 1 << 22


def summarize(metrics: Sequence[Metric], runs: Sequence[Run], bins: Sequence[Bin], seed: int) -> Mapping[str, tuple[Summary, ...]]:
    """The summaries of a row, by metric, of each bin."""
    found: dict[str, tuple[Summary, ...]] = {}
    for metric in metrics:
        if all(metric.key in run.set_scores for run in runs):
            found[metric.key] = tuple(_of_sets([run.set_scores[metric.key][index] for run in runs]) for index in range(len(bins)))
        elif all(metric.key in run.scores for run in runs):
            scores = np.stack([run.scores[metric.key] for run in runs])
            found[metric.key] = tuple(summary_of(scores[:, each.members], seed) for each in bins)
    return found


def summary_of(scores: Float[np.ndarray, 'run image'], seed: int) -> Summary:
    """Of the scores of some images: mean and interval are over images, each with the mean of the runs that have a score of it."""
    pictures = np.array([mean_of(picture) for picture in scores.T])
    low, high = interval(pictures[~np.isnan(pictures)], seed)
    spread = _spread([mean_of(run) for run in scores])
    return Summary(mean_of(pictures), low, high, spread, int(np.isnan(scores).any(axis=0).sum()))


def mean_of(scores: PictureScores) -> float:
    """Over those that are there; nan of none."""
    there = scores[~np.isnan(scores)]
    return float(there.mean()) if len(there) else NAN


def interval(scores: PictureScores, seed: int) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of the mean; nan of less than two scores, or of infinite ones."""
    if len(scores) < 2 or not np.isfinite(scores).all():
        return NAN, NAN
    found = bootstrap(
        (scores,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=max(1, MOST_NUMBERS // len(scores)),
        confidence_level=CONFIDENCE,
        method='percentile',
        # All metrics and rows draw the same images.
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)


def _of_sets(values: Sequence[float]) -> Summary:
    return Summary(float(np.mean(values)), NAN, NAN, _spread(values), 0)


def _spread(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 and np.isfinite(values).all() else NAN

"""Compare each configuration of an ablation with the full one: the difference of their mean scores, with its 95 % interval over runs."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import ttest_ind  # type: ignore[import-untyped]

from frex.ablation.configurations import FULL
from frex.evaluation import Evaluation
from frex.evaluation.results import Row
from frex.metrics.metric import Metric


class Difference(NamedTuple):
    """The difference of two means over runs, and the ends of its 95 % interval; NaN where an interval is not defined."""

    mean: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Return whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


def compute_run_means(row: Row, metric: Metric) -> list[float]:
    """Return the mean score of each run over the images that have one (FID: its score of all images); runs without a score are left out.

    Raises KeyError where `row` has no results of `metric`.
    """
    if metric.compares_sets:
        means = [run.set_scores[metric.key][0] for run in row.runs]
    else:
        scores = [run.scores[metric.key] for run in row.runs]
        means = [float(each[~np.isnan(each)].mean()) for each in scores if not np.isnan(each).all()]
    return [mean for mean in means if not math.isnan(mean)]


def compare_means(ablated: Sequence[float], full: Sequence[float]) -> Difference:
    """Return the mean of `ablated` minus that of `full`, one value per run, with Welch's 95 % interval, which allows different variances.

    The interval is NaN with fewer than two runs on a side, and where the runs differ on neither side.
    """
    mean = float(np.mean(ablated) - np.mean(full))
    if min(len(ablated), len(full)) < 2 or not (np.ptp(ablated) or np.ptp(full)):
        return Difference(mean, math.nan, math.nan)
    interval = ttest_ind(ablated, full, equal_var=False).confidence_interval(0.95)
    return Difference(mean, float(interval.low), float(interval.high))


def compare_with_full(evaluation: Evaluation) -> dict[str, dict[str, Difference]]:
    """Return the difference of each configuration from the full one, by configuration and metric key, where both have a score.

    It is empty where there is no full configuration.
    """
    means = {
        row.name: {metric.key: compute_run_means(row, metric) for metric in evaluation.metrics if metric.key in row.summaries}
        for row in evaluation.methods
    }
    full = means.pop(FULL, {})
    return {
        name: {key: compare_means(ablated, full[key]) for key, ablated in row.items() if ablated and full.get(key)}
        for name, row in means.items()
        if full
    }

"""How far a configuration is from the full one, beside what chance alone does."""

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
    """Of means over runs; `low` and `high` bound its 95 % interval, nan with fewer than two runs on a side."""

    mean: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def run_means(row: Row, metric: Metric) -> list[float]:
    """The score of each run over all images that have one; a run without any is left out."""
    if metric.of_sets:
        means = [run.set_scores[metric.key][0] for run in row.runs]
    else:
        scores = [run.scores[metric.key] for run in row.runs]
        means = [float(each[~np.isnan(each)].mean()) for each in scores if not np.isnan(each).all()]
    return [mean for mean in means if not math.isnan(mean)]


def difference(ours: Sequence[float], full: Sequence[float]) -> Difference:
    """Welch's interval: runs of both sides are draws with spreads of their own."""
    mean = float(np.mean(ours) - np.mean(full))
    if min(len(ours), len(full)) < 2 or not (np.ptp(ours) or np.ptp(full)):
        return Difference(mean, math.nan, math.nan)
    interval = ttest_ind(ours, full, equal_var=False).confidence_interval(0.95)
    return Difference(mean, float(interval.low), float(interval.high))


def differences(evaluation: Evaluation) -> dict[str, dict[str, Difference]]:
    """By configuration and metric, where both sides have a score; empty where the full one is not among the rows."""
    means = {
        row.name: {metric.key: run_means(row, metric) for metric in evaluation.metrics if metric.key in row.summaries}
        for row in evaluation.methods
    }
    full = means.pop(FULL, {})
    return {
        name: {key: difference(ours, full[key]) for key, ours in row.items() if ours and full.get(key)}
        for name, row in means.items()
        if full
    }

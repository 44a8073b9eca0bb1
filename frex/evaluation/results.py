"""The data of a finished evaluation: scores of each run, summaries of each row, and how they came about."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from frex.evaluation.costs import Cost
from frex.evaluation.inputs import Difference
from frex.evaluation.yaw_bins import Bin, Degrees
from frex.metrics.metric import Metric

ImageScores = Float[np.ndarray, ' image']


@dataclass(frozen=True, eq=False)
class Run:
    """The scores of one folder of restored images; `files` are in the order of the evaluation's names."""

    folder: Path
    files: tuple[Path, ...]
    scores: Mapping[str, ImageScores]
    """By metric, the score of each image; NaN where the metric is undefined."""
    set_scores: Mapping[str, tuple[float, ...]]
    """By set metric, the score of the images of each bin; NaN where it is undefined."""


@dataclass(frozen=True)
class Summary:
    """The summary of one metric over the images of one bin.

    `mean` is over images; the score of an image is its mean over the runs that have one. `low` and `high` bound the 95 % bootstrap
    interval of the mean. `spread` is the standard deviation of the runs' means. NaN stands for what is undefined: the interval of a set
    metric, of a single image or of an infinite mean, and the spread of a single run. `unscored` counts images without a score in some
    run.
    """

    mean: float
    low: float
    high: float
    spread: float
    unscored: int


@dataclass(frozen=True, eq=False)
class Row:
    """One row of the table: a method with its runs, or a reference (bilinear or GT)."""

    name: str
    is_reference: bool
    runs: tuple[Run, ...]
    summaries: Mapping[str, tuple[Summary, ...]]
    """By metric, one summary per bin; metrics that could not be computed or do not apply are missing."""
    cost: Cost | None = None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The whole result. `rows` are in the order of the table; `names` are the images, in the order of all scores."""

    names: tuple[str, ...]
    metrics: tuple[Metric, ...]
    gaps: Mapping[str, str]
    """The keys of metrics that could not be computed, with the reason."""
    rows: tuple[Row, ...]
    bins: tuple[Bin, ...]
    """The first bin holds all images."""
    yaw: Degrees | None
    """|yaw| of each face; None without cameras."""
    differences: tuple[Difference, ...]
    """The images that were left out, by folder."""
    protocol: Mapping[str, str]
    """How the evaluation was done, by topic."""
    identical: tuple[tuple[str, ...], ...] = ()
    """Groups of roles whose images are identical, byte for byte."""

    @property
    def methods(self) -> tuple[Row, ...]:
        """Return the rows that are compared, without the references."""
        return tuple(row for row in self.rows if not row.is_reference)

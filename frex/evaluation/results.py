"""The data of a finished evaluation: scores of each folder of images, their means for each row of the table, and how it was done."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from frex.evaluation.costs import Cost
from frex.evaluation.inputs import Difference
from frex.evaluation.yaw_bins import Degrees, YawBin
from frex.metrics.metric import Metric

ImageScores = Float[np.ndarray, ' image']


@dataclass(frozen=True, eq=False)
class Run:
    """The scores of one folder of restored images; `files` and scores are in the order of `Evaluation.names`."""

    folder: Path
    files: Sequence[Path]
    scores: Mapping[str, ImageScores]
    """By metric key, the score of each image; NaN where the metric is undefined."""
    set_scores: Mapping[str, tuple[float, ...]]
    """By key of a metric that compares sets of images (FID), the score of each bin; NaN where it is undefined."""


@dataclass(frozen=True)
class Summary:
    """The summary of one metric over the images of one bin.

    `mean` is over images; an image counts with its mean over the runs that scored it. `low` and `high` bound the 95 % bootstrap interval of
    the mean. `spread` is the standard deviation of the runs' means. NaN stands for what is undefined: the interval of FID, of a single
    image and of an infinite mean, and the spread of a single run. `unscored` counts the images that at least one run has no score of.
    """

    mean: float
    low: float
    high: float
    spread: float
    unscored: int


@dataclass(frozen=True, eq=False)
class Row:
    """One row of the table: a method with its runs, or a reference (bilinear or GT) with one."""

    name: str
    is_reference: bool
    runs: tuple[Run, ...]
    summaries: Mapping[str, tuple[Summary, ...]]
    """By metric key, one summary per bin, the first over all images; metrics without results are missing."""
    cost: Cost | None = None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The whole result. `rows` are in the order of the table; `names` are the images, in the order of all scores."""

    names: tuple[str, ...]
    metrics: tuple[Metric, ...]
    gaps: Mapping[str, str]
    """The keys of metrics that could not be computed, with the reason."""
    rows: tuple[Row, ...]
    bins: tuple[YawBin, ...]
    """The first bin holds all images, the others divide them by |yaw|."""
    yaw: Degrees | None
    """|yaw| of each image in degrees; None without cameras."""
    differences: tuple[Difference, ...]
    """The images that were left out because not all folders have them, by folder."""
    protocol: Mapping[str, str]
    """How the evaluation was done: topic and text."""
    identical: tuple[tuple[str, ...], ...] = ()
    """Groups of roles whose images are the same, byte for byte."""

    @property
    def methods(self) -> tuple[Row, ...]:
        """Return the rows of methods, without the references bilinear and GT."""
        return tuple(row for row in self.rows if not row.is_reference)

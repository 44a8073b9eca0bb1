"""What an evaluation finds."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from frex.evaluation.costs import Cost
from frex.evaluation.inputs import Difference
from frex.evaluation.yaw_bins import Bin, Degrees
from frex.metrics.metric import Metric

PictureScores = Float[np.ndarray, ' picture']


@dataclass(frozen=True, eq=False)
class Run:
    """The scores of one folder of restored images; `files` are in the order of the names."""

    folder: Path
    files: tuple[Path, ...]
    scores: Mapping[str, PictureScores]
    """Of each image, by metric; nan where the metric has nothing to tell of it."""
    set_scores: Mapping[str, tuple[float, ...]]
    """Of the images of each bin as a set, by metric; nan where that has no meaning."""


@dataclass(frozen=True)
class Summary:
    """`mean` is over images, of each over the runs that have a score of it; `low` and `high` bound its 95 % interval, by bootstrap.

    `spread` is the standard deviation of the runs' means. What cannot be said is nan: the interval of a set's score, of a
    single image or of an infinite mean, the spread of one run. `unscored` counts images, of any run, without a score.
    """

    mean: float
    low: float
    high: float
    spread: float
    unscored: int


@dataclass(frozen=True, eq=False)
class Row:
    """A method with its runs, or a reference (the bilinear row, GT)."""

    name: str
    is_reference: bool
    runs: tuple[Run, ...]
    summaries: Mapping[str, tuple[Summary, ...]]
    """By metric, of each bin; a metric that is a gap, or that does not apply, is not there."""
    cost: Cost | None = None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Rows in the table's order; `names` are those of the images, in the order of all scores."""

    names: tuple[str, ...]
    metrics: tuple[Metric, ...]
    gaps: Mapping[str, str]
    """Metrics that could not be calculated, and why."""
    rows: tuple[Row, ...]
    bins: tuple[Bin, ...]
    """The first holds all images."""
    yaw: Degrees | None
    """|yaw| of each face."""
    differences: tuple[Difference, ...]
    """What was left out."""
    protocol: Mapping[str, str]
    """How it was done, by topic."""
    alike: tuple[tuple[str, ...], ...] = ()
    """Roles whose images are the same, byte for byte."""

    @property
    def methods(self) -> tuple[Row, ...]:
        """The rows that compete."""
        return tuple(row for row in self.rows if not row.is_reference)

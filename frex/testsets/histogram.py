"""|yaw| before and after choosing, as in the paper's figure 3."""

from pathlib import Path
from typing import Any

import numpy as np

from frex.errors import FRExError
from frex.files import replacing
from frex.testsets.water_filling import Choice, Counts

HISTOGRAM = 'histogram.png'


def need_matplotlib() -> None:
    """Raise FRExError where it is missing."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise FRExError("matplotlib is missing, which draws the histogram: pip install 'frex[evaluate]'") from None


def draw_histogram(choice: Choice, path: Path) -> None:
    """Write both counts side by side, each with its own scale and the level."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), layout='constrained')
    before, after = figure.subplots(1, 2)
    _draw(before, choice, choice.pool, 'pool', '0.55')
    _draw(after, choice, choice.chosen, 'chosen', 'C0')
    with replacing(path) as part:
        figure.savefig(part, dpi=120, format='png')


def _draw(axes: Any, choice: Choice, counts: Counts, what: str, colour: str) -> None:
    edges = choice.bin_degrees * np.arange(len(counts) + 1)
    axes.bar(edges[:-1], counts, width=choice.bin_degrees, align='edge', color=colour, edgecolor='white')
    axes.axhline(choice.level, color='C3', linestyle='--', linewidth=1, label=f'level {choice.level}')
    axes.set_title(f'{what}: {counts.sum()} faces')
    axes.set_xlabel('|yaw| in degrees')
    axes.set_ylabel('faces')
    axes.set_xlim(0, edges[-1])
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.legend(loc='upper right', fontsize=8)

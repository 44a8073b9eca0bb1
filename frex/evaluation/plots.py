"""Plot an evaluation, one panel per metric: means over all images with 95 % intervals in `scores.png`, and by |yaw| in `yaw.png`."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from frex.evaluation.inputs import BILINEAR
from frex.evaluation.markdown import ARROWS
from frex.evaluation.results import Evaluation, Row
from frex.metrics.metric import Metric
from frex.utils.extras import require_package
from frex.utils.files import write_atomically

SCORES, YAW = 'scores.png', 'yaw.png'
COLUMNS = 3
# Color and line style of the reference rows.
BILINEAR_STYLE, GT_STYLE = ('0.55', '--'), ('0.1', ':')


def draw_plots(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Write `scores.png` and, where cameras are known, `yaw.png` into `folder`; return the written files, none without scores.

    Raises FRExError where matplotlib is missing.
    """
    metrics = [metric for metric in evaluation.metrics if _rows_to_draw(evaluation, metric)]
    if not metrics:
        return []
    written = [_save(_draw_figure(evaluation, metrics, _draw_scores, 0.3 * len(evaluation.rows) + 1.2), folder / SCORES)]
    if evaluation.yaw is not None:
        written.append(_save(_draw_figure(evaluation, metrics, _draw_yaw, 3.0), folder / YAW))
    return written


def _draw_figure(evaluation: Evaluation, metrics: Sequence[Metric], draw: Any, height: float) -> Any:
    """Return a figure with one panel per metric, each `height` inches high and drawn by `draw(axes, evaluation, metric)`."""
    require_package('matplotlib', '--plots')
    from matplotlib.figure import Figure

    columns = min(COLUMNS, len(metrics))
    rows = -(-len(metrics) // columns)
    figure = Figure(figsize=(4.2 * columns, height * rows + 0.6), layout='constrained')
    figure.suptitle(f'{len(evaluation.names)} images; bars: 95 % intervals over images, where there are any', fontsize=9)
    for number, metric in enumerate(metrics, 1):
        axes = figure.add_subplot(rows, columns, number)
        axes.set_title(f'{metric.title} {ARROWS[metric.better]}{_infinite_note(evaluation, metric)}', fontsize=10)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3)
        draw(axes, evaluation, metric)
    lines = {label: handle for axes in figure.axes for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    if lines:
        figure.legend(lines.values(), lines.keys(), loc='outside lower center', ncols=6, fontsize=8)
    return figure


def _rows_to_draw(evaluation: Evaluation, metric: Metric) -> list[Row]:
    """Return the rows whose mean of `metric` over all images is finite."""
    return [row for row in _rows_with_scores(evaluation, metric) if math.isfinite(row.summaries[metric.key][0].mean)]


def _infinite_note(evaluation: Evaluation, metric: Metric) -> str:
    """Return a second line for a panel's title, which names the rows with an infinite mean; empty where there is none."""
    infinite = [row.name for row in _rows_with_scores(evaluation, metric) if math.isinf(row.summaries[metric.key][0].mean)]
    return f'\n∞, not drawn: {", ".join(infinite)}' if infinite else ''


def _rows_with_scores(evaluation: Evaluation, metric: Metric) -> list[Row]:
    """Return the rows with results of `metric`, without GT where the metric would compare GT with itself."""
    rows = [row for row in evaluation.rows if not row.is_reference or row.name == BILINEAR or not metric.needs_gt]
    return [row for row in rows if metric.key in row.summaries]


def _line_style(evaluation: Evaluation, row: Row) -> tuple[str, str]:
    """Return matplotlib's color and line style of a row."""
    if row.is_reference:
        return BILINEAR_STYLE if row.name == BILINEAR else GT_STYLE
    return f'C{evaluation.methods.index(row) % 10}', '-'


def _draw_scores(axes: Any, evaluation: Evaluation, metric: Metric) -> None:
    """Draw each row's mean of `metric` over all images, with its interval, as one point."""
    rows = _rows_to_draw(evaluation, metric)
    for position, row in enumerate(rows):
        summary = row.summaries[metric.key][0]
        margins = [[summary.mean - summary.low], [summary.high - summary.mean]]
        axes.errorbar([summary.mean], [position], xerr=np.clip(margins, 0, None), fmt='o', capsize=3, color=_line_style(evaluation, row)[0])
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)


def _draw_yaw(axes: Any, evaluation: Evaluation, metric: Metric) -> None:
    """Draw each row's means of `metric` over the bins of |yaw|, with their intervals, as one line."""
    bins, rows = evaluation.bins[1:], _rows_to_draw(evaluation, metric)
    for number, row in enumerate(rows):
        # The rows stand side by side, so that their bars do not overlap; a bin without images breaks the line.
        positions = np.arange(len(bins)) + 0.4 * ((number + 0.5) / len(rows) - 0.5)
        summaries = row.summaries[metric.key][1:]
        means = np.array([summary.mean if math.isfinite(summary.mean) else math.nan for summary in summaries])
        margins = np.clip([[s.mean - s.low for s in summaries], [s.high - s.mean for s in summaries]], 0, None)
        color, line = _line_style(evaluation, row)
        axes.errorbar(positions, means, yerr=margins, fmt=f'o{line}', capsize=3, markersize=4, color=color, label=row.name)
    axes.set_xticks(range(len(bins)), [f'{yaw_bin.title}°\n{yaw_bin.count}' for yaw_bin in bins])
    axes.set_xlim(-0.5, len(bins) - 0.5)
    axes.set_xlabel('|yaw|, number of images', fontsize=8)


def _save(figure: Any, path: Path) -> Path:
    """Write a figure as PNG and return `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(path) as part:
        figure.savefig(part, dpi=120, format='png')
    return path

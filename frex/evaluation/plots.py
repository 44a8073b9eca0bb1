"""Plots of an evaluation: means with intervals, and their course over |yaw|."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from frex.evaluation.inputs import BILINEAR
from frex.evaluation.markdown import ARROWS
from frex.evaluation.results import Evaluation, Row
from frex.metrics.metric import Metric
from frex.utils.extras import need_matplotlib
from frex.utils.files import replacing

SCORES, YAW = 'scores.png', 'yaw.png'
COLUMNS = 3
# Colour and line of the rows that do not compete.
BILINEAR_LOOK, GT_LOOK = ('0.55', '--'), ('0.1', ':')


def draw_plots(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Write `scores.png` and, where cameras are known, `yaw.png`; raises FRExError without matplotlib."""
    metrics = [metric for metric in evaluation.metrics if _rows_with(evaluation, metric)]
    if not metrics:
        return []
    drawn = [_save(_figure(evaluation, metrics, _draw_scores, 0.3 * len(evaluation.rows) + 1.2), folder / SCORES)]
    if evaluation.yaw is not None:
        drawn.append(_save(_figure(evaluation, metrics, _draw_yaw, 3.0), folder / YAW))
    return drawn


def _figure(evaluation: Evaluation, metrics: Sequence[Metric], draw: Any, height: float) -> Any:
    need_matplotlib('--plots')
    from matplotlib.figure import Figure

    columns = min(COLUMNS, len(metrics))
    rows = -(-len(metrics) // columns)
    figure = Figure(figsize=(4.2 * columns, height * rows + 0.6), layout='constrained')
    figure.suptitle(f'{len(evaluation.names)} images; bars: 95 % intervals over images, where there are any', fontsize=9)
    for number, metric in enumerate(metrics, 1):
        axes = figure.add_subplot(rows, columns, number)
        axes.set_title(f'{metric.title} {ARROWS[metric.better]}{_left_out(evaluation, metric)}', fontsize=10)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3)
        draw(axes, evaluation, metric)
    lines = {label: handle for axes in figure.axes for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    if lines:
        figure.legend(lines.values(), lines.keys(), loc='outside lower center', ncols=6, fontsize=8)
    return figure


def _rows_with(evaluation: Evaluation, metric: Metric) -> list[Row]:
    return [row for row in _comparisons(evaluation, metric) if math.isfinite(row.summaries[metric.key][0].mean)]


def _left_out(evaluation: Evaluation, metric: Metric) -> str:
    endless = [row.name for row in _comparisons(evaluation, metric) if math.isinf(row.summaries[metric.key][0].mean)]
    return f'\n∞, not drawn: {", ".join(endless)}' if endless else ''


def _comparisons(evaluation: Evaluation, metric: Metric) -> list[Row]:
    """Of GT only what is no comparison with itself."""
    rows = [row for row in evaluation.rows if not row.is_reference or row.name == BILINEAR or not metric.needs_gt]
    return [row for row in rows if metric.key in row.summaries]


def _look(evaluation: Evaluation, row: Row) -> tuple[str, str]:
    if row.is_reference:
        return BILINEAR_LOOK if row.name == BILINEAR else GT_LOOK
    return f'C{evaluation.methods.index(row) % 10}', '-'


def _draw_scores(axes: Any, evaluation: Evaluation, metric: Metric) -> None:
    rows = _rows_with(evaluation, metric)
    for place, row in enumerate(rows):
        summary = row.summaries[metric.key][0]
        margins = [[summary.mean - summary.low], [summary.high - summary.mean]]
        axes.errorbar([summary.mean], [place], xerr=np.clip(margins, 0, None), fmt='o', capsize=3, color=_look(evaluation, row)[0])
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)


def _draw_yaw(axes: Any, evaluation: Evaluation, metric: Metric) -> None:
    bins, rows = evaluation.bins[1:], _rows_with(evaluation, metric)
    for number, row in enumerate(rows):
        # Side by side, so that their bars can be told apart; a bin without images breaks the line.
        places = np.arange(len(bins)) + 0.4 * ((number + 0.5) / len(rows) - 0.5)
        summaries = row.summaries[metric.key][1:]
        means = np.array([each.mean if math.isfinite(each.mean) else math.nan for each in summaries])
        margins = np.clip([[each.mean - each.low for each in summaries], [each.high - each.mean for each in summaries]], 0, None)
        colour, line = _look(evaluation, row)
        axes.errorbar(places, means, yerr=margins, fmt=f'o{line}', capsize=3, markersize=4, color=colour, label=row.name)
    axes.set_xticks(range(len(bins)), [f'{each.title}°\n{each.count}' for each in bins])
    axes.set_xlim(-0.5, len(bins) - 0.5)
    axes.set_xlabel('|yaw|, number of images', fontsize=8)


def _save(figure: Any, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        figure.savefig(part, dpi=120, format='png')
    return path

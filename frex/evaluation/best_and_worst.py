"""Contact sheets of the images that a method restores worst and best."""

from pathlib import Path

import numpy as np

from frex.data.contact_sheet import draw_contact_sheet
from frex.evaluation.inputs import BILINEAR, GT
from frex.evaluation.markdown import format_value
from frex.evaluation.results import Evaluation, ImageScores, Row
from frex.images import Image, read_image, write_image
from frex.metrics.metric import Metric

# The metrics that order the images, in order of preference.
PREFERRED_METRICS = ('lpips', 'psnr')
SHOWN = 4
# The number of characters that fit below a tile.
CAPTION_LENGTH = 22


def draw_cases(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Write `cases_NAME_by_METRIC.jpg` for each method and return the files.

    Each row of a sheet is one image, restored by all methods and beside GT: first the worst images of method NAME, then its best.
    """
    written = []
    for row in evaluation.methods:
        metric = _choose_metric(evaluation, row)
        if metric is not None:
            path = folder / f'cases_{row.name}_by_{metric.key}.jpg'
            write_image(path, _sheet(evaluation, row, metric))
            written.append(path)
    return written


def select_cases(scores: ImageScores, metric: Metric) -> tuple[list[int], list[int]]:
    """Return the indices of the worst images, worst first, and of the best images, best first; no index is in both."""
    scored = np.flatnonzero(~np.isnan(scores))
    ranked = scored[np.argsort(scores[scored], kind='stable')].tolist()
    best_first = ranked if metric.better == 'lower' else ranked[::-1]
    shown = min(SHOWN, len(ranked) // 2)
    return best_first[::-1][: max(shown, 1)], best_first[:shown]


def _choose_metric(evaluation: Evaluation, row: Row) -> Metric | None:
    """Return the metric that orders the images, a preferred one where the first run has scores of it; None without scores."""
    scored = [metric for metric in evaluation.metrics if not np.isnan(row.runs[0].scores.get(metric.key, np.array([np.nan]))).all()]
    return min(scored, key=lambda metric: [*PREFERRED_METRICS, metric.key].index(metric.key), default=None)


def _sheet(evaluation: Evaluation, chosen: Row, metric: Metric) -> Image:
    """Return the contact sheet of the method `chosen`, ordered by `metric`."""
    worst, best = select_cases(chosen.runs[0].scores[metric.key], metric)
    cases = [('worst', index) for index in worst] + [('best', index) for index in best]
    images = [read_image(row.runs[0].files[index]) for _, index in cases for row in evaluation.rows]
    captions = [_caption(row, kind, evaluation.names[index], index, metric) for kind, index in cases for row in evaluation.rows]
    return draw_contact_sheet(images, captions, columns=len(evaluation.rows))


def _caption(row: Row, kind: str, name: str, index: int, metric: Metric) -> str:
    """Return the text below one tile: the image's name below GT, the method and its score below the others."""
    if row.name == GT and row.is_reference:
        return (
            f'{kind}: {name}'[:CAPTION_LENGTH]
            if len(name) + len(kind) + 2 <= CAPTION_LENGTH
            else f'{kind}: ..{name[len(kind) + 4 - CAPTION_LENGTH :]}'
        )
    score = format_value(row.runs[0].scores[metric.key][index], metric) if metric.key in row.runs[0].scores else ''
    title = 'LQ' if row.name == BILINEAR and row.is_reference else row.name
    return f'{title[: CAPTION_LENGTH - len(score) - 1]} {score}'

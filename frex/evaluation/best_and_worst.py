"""Contact sheets of the images that a method restores worst and best."""

from pathlib import Path

import numpy as np

from frex.data.contact_sheet import contact_sheet
from frex.evaluation.inputs import BILINEAR, GT
from frex.evaluation.markdown import number_of
from frex.evaluation.results import Evaluation, PictureScores, Row
from frex.images import Image, read_image, write_image
from frex.metrics.metric import Metric

# By what cases are chosen, where it is known.
PREFERRED = ('lpips', 'psnr')
SHOWN = 4
# What a caption has place for.
LETTERS = 22


def draw_cases(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Write `cases_NAME_by_METRIC.jpg` of each method: rows with its worst images, then its best, beside all methods and GT."""
    drawn = []
    for row in evaluation.methods:
        metric = _metric_of(evaluation, row)
        if metric is not None:
            path = folder / f'cases_{row.name}_by_{metric.key}.jpg'
            write_image(path, _sheet(evaluation, row, metric))
            drawn.append(path)
    return drawn


def cases_of(scores: PictureScores, metric: Metric) -> tuple[list[int], list[int]]:
    """The worst images, from the worst on, and the best, from the best on; none is both."""
    there = np.flatnonzero(~np.isnan(scores))
    ranked = there[np.argsort(scores[there], kind='stable')].tolist()
    best_first = ranked if metric.better == 'lower' else ranked[::-1]
    shown = min(SHOWN, len(ranked) // 2)
    return best_first[::-1][: max(shown, 1)], best_first[:shown]


def _metric_of(evaluation: Evaluation, row: Row) -> Metric | None:
    """By which cases are chosen: one that the first run has of any image."""
    scored = [metric for metric in evaluation.metrics if not np.isnan(row.runs[0].scores.get(metric.key, np.array([np.nan]))).all()]
    return min(scored, key=lambda metric: [*PREFERRED, metric.key].index(metric.key), default=None)


def _sheet(evaluation: Evaluation, chosen: Row, metric: Metric) -> Image:
    worst, best = cases_of(chosen.runs[0].scores[metric.key], metric)
    cases = [('worst', index) for index in worst] + [('best', index) for index in best]
    pictures = [read_image(row.runs[0].files[index]) for _, index in cases for row in evaluation.rows]
    captions = [_caption(row, kind, evaluation.names[index], index, metric) for kind, index in cases for row in evaluation.rows]
    return contact_sheet(pictures, captions, columns=len(evaluation.rows))


def _caption(row: Row, kind: str, name: str, index: int, metric: Metric) -> str:
    if row.name == GT and row.is_reference:
        return f'{kind}: {name}'[:LETTERS] if len(name) + len(kind) + 2 <= LETTERS else f'{kind}: ..{name[len(kind) + 4 - LETTERS :]}'
    score = number_of(row.runs[0].scores[metric.key][index], metric) if metric.key in row.runs[0].scores else ''
    title = 'LQ' if row.name == BILINEAR and row.is_reference else row.name
    return f'{title[: LETTERS - len(score) - 1]} {score}'

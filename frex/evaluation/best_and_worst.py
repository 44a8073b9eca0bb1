"""Draw contact sheets of the images that a method restores worst and best."""

from pathlib import Path

import numpy as np

from frex.data.contact_sheet import draw_contact_sheet
from frex.evaluation.inputs import BILINEAR, GT
from frex.evaluation.markdown import format_value
from frex.evaluation.results import Evaluation, ImageScores, Row
from frex.images import Image, read_image, write_image
from frex.metrics.metric import Metric

# The keys of the metrics by which images are ordered, the preferred one first.
PREFERRED_METRICS = ('lpips', 'psnr')
# At most this many worst and this many best images on a sheet.
SHOWN = 4
# The number of characters that fit below a tile.
CAPTION_LENGTH = 22


def draw_best_and_worst(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Write a contact sheet `cases_NAME_by_METRIC.jpg` into `folder` for each method that has scores; return the written files.

    Each row of a sheet shows one image in all rows of the evaluation (bilinear, methods, GT): first the images that method NAME restores
    worst, then those that it restores best. Only the first run of a method counts and is shown.
    """
    written = []
    for row in evaluation.methods:
        metric = _choose_metric(evaluation, row)
        if metric is not None:
            path = folder / f'cases_{row.name}_by_{metric.key}.jpg'
            write_image(path, _draw_contact_sheet(evaluation, row, metric))
            written.append(path)
    return written


def select_best_and_worst(scores: ImageScores, metric: Metric) -> tuple[list[int], list[int]]:
    """Return (worst, best): the indices in `scores` of at most SHOWN images each, the worst first and the best first.

    Images with the score NaN are left out. No image is in both lists; a single scored image counts as a worst one.
    """
    scored = np.flatnonzero(~np.isnan(scores))
    ranked = scored[np.argsort(scores[scored], kind='stable')].tolist()
    best_first = ranked if metric.better == 'lower' else ranked[::-1]
    shown = min(SHOWN, len(ranked) // 2)
    return best_first[::-1][: max(shown, 1)], best_first[:shown]


def _choose_metric(evaluation: Evaluation, row: Row) -> Metric | None:
    """Return the metric by which the images of `row` are ordered; None where its first run has no scores.

    It is the first of PREFERRED_METRICS that has scores, else the first metric of the evaluation that has some.
    """
    scored = [metric for metric in evaluation.metrics if not np.isnan(row.runs[0].scores.get(metric.key, np.array([np.nan]))).all()]
    return min(scored, key=lambda metric: [*PREFERRED_METRICS, metric.key].index(metric.key), default=None)


def _draw_contact_sheet(evaluation: Evaluation, chosen: Row, metric: Metric) -> Image:
    """Return the contact sheet (BGR) of the images that `chosen` restores worst and best by `metric` in its first run."""
    worst, best = select_best_and_worst(chosen.runs[0].scores[metric.key], metric)
    cases = [('worst', index) for index in worst] + [('best', index) for index in best]
    images = [read_image(row.runs[0].files[index]) for _, index in cases for row in evaluation.rows]
    captions = [_caption(row, kind, evaluation.names[index], index, metric) for kind, index in cases for row in evaluation.rows]
    return draw_contact_sheet(images, captions, columns=len(evaluation.rows))


def _caption(row: Row, kind: str, name: str, index: int, metric: Metric) -> str:
    """Return the text below one tile, cut to CAPTION_LENGTH.

    Below GT it is `kind`, `worst` or `best`, with the `name` of the image; below the others it is the method's name with its score.
    `index` is the place of the image in the scores.
    """
    if row.name == GT and row.is_reference:
        return (
            f'{kind}: {name}'[:CAPTION_LENGTH]
            if len(name) + len(kind) + 2 <= CAPTION_LENGTH
            else f'{kind}: ..{name[len(kind) + 4 - CAPTION_LENGTH :]}'
        )
    score = format_value(row.runs[0].scores[metric.key][index], metric) if metric.key in row.runs[0].scores else ''
    title = 'LQ' if row.name == BILINEAR and row.is_reference else row.name
    return f'{title[: CAPTION_LENGTH - len(score) - 1]} {score}'

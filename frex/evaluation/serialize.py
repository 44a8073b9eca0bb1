"""Convert an evaluation to JSON, with the scores of each image, and to CSV, with the means."""

import csv
import io
import json
import math
from dataclasses import asdict
from typing import Any

import numpy as np

from frex.evaluation.results import Evaluation, Row

COLUMNS = ('method', 'is_reference', 'runs', 'metric', 'yaw', 'pictures', 'mean', 'low', 'high', 'spread', 'unscored')


def to_json(evaluation: Evaluation) -> str:
    """Return the whole evaluation as JSON; scores are in the order of its entry `pictures`, the names of the images.

    NaN becomes null, and infinity the text `inf`.
    """
    content = {
        'version': 1,
        'protocol': evaluation.protocol,
        'metrics': [
            {'key': metric.key, 'title': metric.title, 'better': metric.better, 'missing': evaluation.gaps.get(metric.key)}
            for metric in evaluation.metrics
        ],
        'bins': [{'title': b.title, 'low': b.low, 'high': b.high, 'count': b.count} for b in evaluation.bins],
        'rows': [_row_to_dict(row) for row in evaluation.rows],
        'same_pictures': evaluation.identical,
        'left_out': [{'role': d.role, 'missing': d.missing, 'extra': d.extra} for d in evaluation.differences],
        'pictures': evaluation.names,
        'yaw': evaluation.yaw,
    }
    return json.dumps(_to_json_values(content), indent=1, ensure_ascii=False, allow_nan=False) + '\n'


def to_csv(evaluation: Evaluation) -> str:
    """Return a line of titles, then one line per row of the table, metric and bin; the first bin, `all`, holds all images.

    `pictures` is the number of images in the bin. `low` and `high` bound the 95 % interval of the mean. NaN becomes an empty field, and
    infinity `inf`.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(COLUMNS)
    for row in evaluation.rows:
        for key, summaries in row.summaries.items():
            for yaw_bin, summary in zip(evaluation.bins, summaries, strict=True):
                numbers = (summary.mean, summary.low, summary.high, summary.spread)
                shown = ['' if math.isnan(number) else repr(number) for number in numbers]
                writer.writerow(
                    [row.name, int(row.is_reference), len(row.runs), key, yaw_bin.title, yaw_bin.count, *shown, summary.unscored]
                )
    return text.getvalue()


def _row_to_dict(row: Row) -> dict[str, Any]:
    """Return a row's name, cost, summaries and runs as an entry of `rows` in the JSON."""
    return {
        'name': row.name,
        'is_reference': row.is_reference,
        'cost': None if row.cost is None else asdict(row.cost),
        'summaries': {key: [asdict(summary) for summary in summaries] for key, summaries in row.summaries.items()},
        'runs': [{'folder': str(run.folder), 'scores': run.scores, 'set_scores': run.set_scores} for run in row.runs],
    }


def _to_json_values(value: Any) -> Any:
    """Convert arrays and tuples within `value` to lists, NaN to None, and infinite floats to text."""
    if isinstance(value, dict):
        return {key: _to_json_values(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_to_json_values(entry) for entry in value]
    if isinstance(value, float):
        # float64 of numpy is a subclass of float.
        return None if math.isnan(value) else float(value) if math.isfinite(value) else repr(float(value))
    return value

"""An evaluation as JSON, whole, and as CSV, its means."""

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
    """With the scores of each image, in the order of `pictures`; what is nan is null, what is infinite the text inf."""
    content = {
        'version': 1,
        'protocol': evaluation.protocol,
        'metrics': [
            {'key': metric.key, 'title': metric.title, 'better': metric.better, 'missing': evaluation.gaps.get(metric.key)}
            for metric in evaluation.metrics
        ],
        'bins': [{'title': each.title, 'low': each.low, 'high': each.high, 'count': each.count} for each in evaluation.bins],
        'rows': [_row(row) for row in evaluation.rows],
        'same_pictures': evaluation.alike,
        'left_out': [{'role': each.role, 'missing': each.missing, 'extra': each.extra} for each in evaluation.differences],
        'pictures': evaluation.names,
        'yaw': evaluation.yaw,
    }
    return json.dumps(_plain(content), indent=1, ensure_ascii=False, allow_nan=False) + '\n'


def to_csv(evaluation: Evaluation) -> str:
    """A line for each method, metric and bin, `all` first; `low` to `high` is the 95 % interval. What is nan is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(COLUMNS)
    for row in evaluation.rows:
        for key, summaries in row.summaries.items():
            for each, summary in zip(evaluation.bins, summaries, strict=True):
                numbers = (summary.mean, summary.low, summary.high, summary.spread)
                shown = ['' if math.isnan(number) else repr(number) for number in numbers]
                writer.writerow([row.name, int(row.is_reference), len(row.runs), key, each.title, each.count, *shown, summary.unscored])
    return text.getvalue()


def _row(row: Row) -> dict[str, Any]:
    return {
        'name': row.name,
        'is_reference': row.is_reference,
        'cost': None if row.cost is None else asdict(row.cost),
        'summaries': {key: [asdict(summary) for summary in summaries] for key, summaries in row.summaries.items()},
        'runs': [{'folder': str(run.folder), 'scores': run.scores, 'set_scores': run.set_scores} for run in row.runs],
    }


def _plain(value: Any) -> Any:
    """What JSON can hold."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        # numpy's numbers are floats, too.
        return None if math.isnan(value) else float(value) if math.isfinite(value) else repr(float(value))
    return value

"""Write an evaluation as JSON, with all scores, and as CSV, with the means."""

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
    """Return everything as JSON, the scores in the order of `pictures`; NaN becomes null and infinity the text inf."""
    content = {
        'version': 1,
        'protocol': evaluation.protocol,
        'metrics': [
            {'key': metric.key, 'title': metric.title, 'better': metric.better, 'missing': evaluation.gaps.get(metric.key)}
            for metric in evaluation.metrics
        ],
        'bins': [{'title': b.title, 'low': b.low, 'high': b.high, 'count': b.count} for b in evaluation.bins],
        'rows': [_row(row) for row in evaluation.rows],
        'same_pictures': evaluation.identical,
        'left_out': [{'role': d.role, 'missing': d.missing, 'extra': d.extra} for d in evaluation.differences],
        'pictures': evaluation.names,
        'yaw': evaluation.yaw,
    }
    return json.dumps(_plain(content), indent=1, ensure_ascii=False, allow_nan=False) + '\n'


def to_csv(evaluation: Evaluation) -> str:
    """Return one line per method, metric and bin, where bin `all` is first; `low` and `high` bound the 95 % interval, NaN is empty."""
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


def _row(row: Row) -> dict[str, Any]:
    """Return a row as a dictionary."""
    return {
        'name': row.name,
        'is_reference': row.is_reference,
        'cost': None if row.cost is None else asdict(row.cost),
        'summaries': {key: [asdict(summary) for summary in summaries] for key, summaries in row.summaries.items()},
        'runs': [{'folder': str(run.folder), 'scores': run.scores, 'set_scores': run.set_scores} for run in row.runs],
    }


def _plain(value: Any) -> Any:
    """Replace arrays and tuples by lists, and floats by what JSON can hold."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(entry) for entry in value]
    if isinstance(value, float):
        # float64 of numpy is a subclass of float.
        return None if math.isnan(value) else float(value) if math.isfinite(value) else repr(float(value))
    return value

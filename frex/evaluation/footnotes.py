"""What must be known to read the results."""

from collections.abc import Iterator

import numpy as np

from frex.evaluation.results import GT, Evaluation, Row
from frex.evaluation.tables import NONE, escaped, told
from frex.metrics.metric import Metric

# The features of FID: fewer pictures leave their covariance singular.
FEW = 2048


def footnotes(evaluation: Evaluation) -> list[str]:
    """A line each."""
    notes = [f'{metric.title}: {NONE}, {evaluation.gaps[metric.key]}' for metric in evaluation.metrics if metric.key in evaluation.gaps]
    for metric in evaluation.metrics:
        notes += _on_scores(evaluation, metric)
    if any(metric.of_sets for metric in told(evaluation)) and len(evaluation.names) < FEW:
        notes.append(f'FID: of fewer than {FEW} pictures it is far above that of many; compare it with that of as many pictures only')
    notes += _on_runs(evaluation)
    notes += _on_costs(evaluation)
    return list(map(escaped, [*notes, *(f'left out: {difference}' for difference in evaluation.differences)]))


def _on_scores(evaluation: Evaluation, metric: Metric) -> Iterator[str]:
    rows = [row for row in evaluation.rows if metric.key in row.summaries]
    lacking = ', '.join(f'{count} of {row.name}' for row in rows if (count := row.summaries[metric.key][0].unscored))
    if lacking:
        yield f'{metric.title}: cannot be told of some pictures, which are not in its means: {lacking}'
    same = ', '.join(f'{count} of {row.name}' for row in rows if row.name != GT and (count := _infinite(row, metric)))
    if same:
        yield f'{metric.title}: ∞ of pictures that are the same as the clean ones, so its mean is ∞, without interval and plot: {same}'


def _infinite(row: Row, metric: Metric) -> int:
    """How many pictures have such a score in any run."""
    scores = [run.scores[metric.key] for run in row.runs if metric.key in run.scores]
    return int(np.isinf(scores).any(axis=0).sum()) if scores else 0


def _on_runs(evaluation: Evaluation) -> Iterator[str]:
    runs = ', '.join(f'{row.name} {len(row.runs)}' for row in evaluation.methods if len(row.runs) > 1)
    if runs:
        yield f'±: standard deviation of the means of several runs: {runs}'
    for roles in evaluation.alike:
        yield f'the same pictures, byte for byte: {" / ".join(roles)}'


def _on_costs(evaluation: Evaluation) -> Iterator[str]:
    costs = {row.name: row.cost for row in evaluation.methods if row.cost is not None}
    commands = ', '.join(name for name, cost in costs.items() if 'command' in cost.timings)
    if commands:
        yield f's/face: of the whole command, starting and loading included: {commands}'
    if len({each for cost in costs.values() for each in cost.measured}) > 1:
        yield f's/face, memory: not measured alike, see "cost of" in the protocol: {", ".join(costs)}'
    mixed = ', '.join(name for name, cost in costs.items() if len(cost.timings) > 1)
    if mixed:
        yield f's/face: {NONE}, of some runs the network alone was timed, of others the whole command: {mixed}'

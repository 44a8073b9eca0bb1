"""The tables, in Markdown that can be read as it stands."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from frex.evaluation.inputs import GT
from frex.evaluation.results import Evaluation, Row, Summary
from frex.metrics.metric import Metric

ARROWS = {'higher': '↑', 'lower': '↓'}
NONE = '-'
MIB = 1 << 20
# What Markdown would take for its own: of brackets links only, of underscores those that are not within a word.
SPECIAL = re.compile(r'[\\`*<]|\[(?=[^]]*]\()|(?<![^\W_])_|_(?![^\W_])')


def results_table(evaluation: Evaluation) -> str:
    """As the paper's: a row a method, best bold and second underlined; `±` is the spread over runs."""
    marks = {metric.key: marks_of(evaluation.methods, metric, 0) for metric in evaluation.metrics}
    costs = _cost_columns(evaluation)
    head = ['Method', *(f'{metric.title} {ARROWS[metric.better]}' for metric in evaluation.metrics), *costs]
    rows = [
        [escaped(row.name)]
        + [cell(row, metric, 0, marks[metric.key]) for metric in evaluation.metrics]
        + [column.get(row.name, NONE) for column in costs.values()]
        for row in evaluation.rows
    ]
    return as_table(head, rows)


def interval_table(evaluation: Evaluation) -> str:
    """The same with intervals, for the metrics that have them."""
    metrics = [metric for metric in told(evaluation) if not metric.of_sets]
    rows = [[escaped(row.name), *(_with_interval(row.summaries[metric.key][0], metric) for metric in metrics)] for row in evaluation.rows]
    return as_table(['Method', *(f'{metric.title} {ARROWS[metric.better]}' for metric in metrics)], rows) if metrics else ''


def yaw_tables(evaluation: Evaluation) -> list[str]:
    """Headings and tables: for each metric a row a method and a column a bin."""
    if evaluation.yaw is None:
        return []
    numbers = range(1, len(evaluation.bins))
    bins = [f'{each.title}° ({each.count})' for each in evaluation.bins[1:]]
    parts = ['### By |yaw|, with the number of images']
    for metric in told(evaluation):
        marks = [marks_of(evaluation.methods, metric, number) for number in numbers]
        rows = [[escaped(row.name), *(cell(row, metric, number, marks[number - 1]) for number in numbers)] for row in evaluation.rows]
        parts.append(as_table([f'{metric.title} {ARROWS[metric.better]}', *bins], rows))
    return parts


def marks_of(methods: Sequence[Row], metric: Metric, number: int) -> Mapping[float, str]:
    """How to write the best and the second best mean, as rounded in the table, where there is something to compare."""
    means = (row.summaries[metric.key][number].mean for row in methods if metric.key in row.summaries)
    ranked = sorted({round(mean, metric.digits) for mean in means if not math.isnan(mean)}, reverse=metric.better == 'higher')
    return dict(zip(ranked, ('**{}**', '<u>{}</u>'), strict=False)) if len(methods) > 1 else {}


def cell(row: Row, metric: Metric, number: int, marks: Mapping[float, str]) -> str:
    """A mean, marked in the rows that compete, with its spread over runs."""
    if metric.key not in row.summaries:
        return NONE
    summary = row.summaries[metric.key][number]
    text = number_of(summary.mean, metric)
    mark = '{}' if row.is_reference else marks.get(round(summary.mean, metric.digits), '{}')
    return mark.format(text) + ('' if math.isnan(summary.spread) else f' ± {number_of(summary.spread, metric)}')


def number_of(value: float, metric: Metric) -> str:
    """As the metric's tables write it."""
    if math.isnan(value):
        return NONE
    # A rounding error below zero would be written -0.00.
    return '∞' if math.isinf(value) else f'{round(value, metric.digits) + 0.0:.{metric.digits}f}'


def escaped(text: str) -> str:
    """`text` that is shown by Markdown as it stands; `as_table` sees to `|`, which means something in tables only."""
    return SPECIAL.sub(r'\\\g<0>', text)


def as_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of one width; the first is aligned left, the others right."""
    cells = [[text.replace('|', '\\|') for text in row] for row in (head, *rows)]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    rule = ['-' * widths[0], *('-' * (width - 1) + ':' for width in widths[1:])]
    lines = [[row[0].ljust(widths[0]), *(text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True))] for row in cells]
    return '\n'.join(f'| {" | ".join(line)} |' for line in (lines[0], rule, *lines[1:]))


def told(evaluation: Evaluation) -> list[Metric]:
    """The metrics of which there is something to tell."""

    def is_told(key: str) -> bool:
        return any(not math.isnan(row.summaries[key][0].mean) for row in evaluation.rows if key in row.summaries)

    return [metric for metric in evaluation.metrics if is_told(metric.key)]


def _with_interval(summary: Summary, metric: Metric) -> str:
    mean, low, high = (number_of(value, metric) for value in (summary.mean, summary.low, summary.high))
    return mean if math.isnan(summary.low) else f'{mean} [{low}, {high}]'


def _cost_columns(evaluation: Evaluation) -> dict[str, dict[str, str]]:
    """Titles, and what stands in the rows by their names."""
    costs = {row.name: row.cost for row in evaluation.methods if row.cost is not None}
    columns = {'s/face': {name: f'{cost.seconds_a_face:.3f}' for name, cost in costs.items() if cost.seconds_a_face is not None}}
    for place in dict.fromkeys(place for cost in costs.values() for place in cost.peak_memory):
        sizes = {name: cost.peak_memory[place] for name, cost in costs.items() if place in cost.peak_memory}
        columns[f'{place} MiB'] = {name: f'{size / MIB:.0f}' for name, size in sizes.items()}
    return {title: column for title, column in columns.items() if column}


# The features of FID: fewer images leave their covariance singular.
FEW = 2048


def footnotes(evaluation: Evaluation) -> list[str]:
    """A line each."""
    notes = [f'{metric.title}: {NONE}, {evaluation.gaps[metric.key]}' for metric in evaluation.metrics if metric.key in evaluation.gaps]
    for metric in evaluation.metrics:
        notes += _on_scores(evaluation, metric)
    if any(metric.of_sets for metric in told(evaluation)) and len(evaluation.names) < FEW:
        notes.append(f'FID: of fewer than {FEW} images it is far above that of many; compare it with that of as many images only')
    notes += _on_runs(evaluation)
    notes += _on_costs(evaluation)
    return list(map(escaped, [*notes, *(f'left out: {difference}' for difference in evaluation.differences)]))


def _on_scores(evaluation: Evaluation, metric: Metric) -> Iterator[str]:
    rows = [row for row in evaluation.rows if metric.key in row.summaries]
    lacking = ', '.join(f'{count} of {row.name}' for row in rows if (count := row.summaries[metric.key][0].unscored))
    if lacking:
        yield f'{metric.title}: cannot be told of some images, which are not in its means: {lacking}'
    same = ', '.join(f'{count} of {row.name}' for row in rows if row.name != GT and (count := _infinite(row, metric)))
    if same:
        yield f'{metric.title}: ∞ of images that are the same as the clean ones, so its mean is ∞, without interval and plot: {same}'


def _infinite(row: Row, metric: Metric) -> int:
    """How many images have such a score in any run."""
    scores = [run.scores[metric.key] for run in row.runs if metric.key in run.scores]
    return int(np.isinf(scores).any(axis=0).sum()) if scores else 0


def _on_runs(evaluation: Evaluation) -> Iterator[str]:
    runs = ', '.join(f'{row.name} {len(row.runs)}' for row in evaluation.methods if len(row.runs) > 1)
    if runs:
        yield f'±: standard deviation of the means of several runs: {runs}'
    for roles in evaluation.alike:
        yield f'the same images, byte for byte: {" / ".join(roles)}'


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


def to_markdown(evaluation: Evaluation) -> str:
    """All: results with footnotes, intervals, tables by |yaw|, protocol; it can be read as it stands, too."""
    parts = [
        f'## Results over {len(evaluation.names)} images',
        results_table(evaluation),
        '\n'.join(f'- {note}' for note in footnotes(evaluation)),
        '### Means with 95 % intervals',
        interval_table(evaluation),
        *yaw_tables(evaluation),
        '### Protocol',
        '\n'.join(f'- {escaped(topic)}: {escaped(text)}' for topic, text in evaluation.protocol.items()),
    ]
    return '\n\n'.join(filter(None, parts)) + '\n'

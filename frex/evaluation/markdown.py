"""Format an evaluation as Markdown that is readable as plain text: tables of scores, time and memory, footnotes, and the protocol."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from frex.evaluation.inputs import BILINEAR, GT
from frex.evaluation.results import Evaluation, Row, Summary
from frex.metrics.metric import Metric

ARROWS = {'higher': '↑', 'lower': '↓'}
NONE = '-'
MIB = 1 << 20
# Characters that Markdown would interpret: brackets only where they form a link, underscores only at the edge of a word.
SPECIAL = re.compile(r'[\\`*<]|\[(?=[^]]*]\()|(?<![^\W_])_|_(?![^\W_])')


def results_table(evaluation: Evaluation) -> str:
    """Return the main table, like the paper's: one row per method, one column per metric, then time and memory where they are known.

    Cells are means over all images, `±` their standard deviation over runs; the best method is bold, the second underlined.
    """
    marks = {metric.key: rank_marks(evaluation.methods, metric, 0) for metric in evaluation.metrics}
    costs = _cost_columns(evaluation)
    head = ['Method', *(f'{metric.title} {ARROWS[metric.better]}' for metric in evaluation.metrics), *costs]
    rows = [
        [escape_markdown(row.name)]
        + [format_cell(row, metric, 0, marks[metric.key]) for metric in evaluation.metrics]
        + [column.get(row.name, NONE) for column in costs.values()]
        for row in evaluation.rows
    ]
    return format_table(head, rows)


def interval_table(evaluation: Evaluation) -> str:
    """Return the table of means over all images with their 95 % intervals, for metrics of single images; empty where there is none."""
    metrics = [metric for metric in metrics_with_scores(evaluation) if not metric.compares_sets]
    rows = [
        [escape_markdown(row.name), *(_format_interval(row.summaries[metric.key][0], metric) for metric in metrics)]
        for row in evaluation.rows
    ]
    return format_table(['Method', *(f'{metric.title} {ARROWS[metric.better]}' for metric in metrics)], rows) if metrics else ''


def yaw_tables(evaluation: Evaluation) -> list[str]:
    """Return a heading, then for each metric a table with one row per method and one column per bin of |yaw|; empty without cameras."""
    if evaluation.yaw is None:
        return []
    bin_numbers = range(1, len(evaluation.bins))
    bins = [f'{yaw_bin.title}° ({yaw_bin.count})' for yaw_bin in evaluation.bins[1:]]
    parts = ['### By |yaw|, with the number of images']
    for metric in metrics_with_scores(evaluation):
        marks = [rank_marks(evaluation.methods, metric, number) for number in bin_numbers]
        rows = [
            [escape_markdown(row.name), *(format_cell(row, metric, number, marks[number - 1]) for number in bin_numbers)]
            for row in evaluation.rows
        ]
        parts.append(format_table([f'{metric.title} {ARROWS[metric.better]}', *bins], rows))
    return parts


def rank_marks(methods: Sequence[Row], metric: Metric, bin_number: int) -> Mapping[float, str]:
    """Return the Markdown format (`**{}**`, `<u>{}</u>`) of the best and the second best mean, by the means rounded as in the table.

    `bin_number` is an index of `Evaluation.bins`; bin 0 holds all images. Returns an empty dictionary for a single method.
    """
    means = (row.summaries[metric.key][bin_number].mean for row in methods if metric.key in row.summaries)
    ranked = sorted({round(mean, metric.digits) for mean in means if not math.isnan(mean)}, reverse=metric.better == 'higher')
    return dict(zip(ranked, ('**{}**', '<u>{}</u>'), strict=False)) if len(methods) > 1 else {}


def format_cell(row: Row, metric: Metric, bin_number: int, marks: Mapping[float, str]) -> str:
    """Return a row's mean of `metric` in bin `bin_number` (0 for all images) as Markdown, with `±` its standard deviation over runs.

    `marks`, from `rank_marks`, format the best and second best; rows of references are never marked. `-` stands for no result.
    """
    if metric.key not in row.summaries:
        return NONE
    summary = row.summaries[metric.key][bin_number]
    text = format_value(summary.mean, metric)
    mark = '{}' if row.is_reference else marks.get(round(summary.mean, metric.digits), '{}')
    return mark.format(text) + ('' if math.isnan(summary.spread) else f' ± {format_value(summary.spread, metric)}')


def format_value(value: float, metric: Metric) -> str:
    """Return a value with the metric's number of decimals; `-` for NaN and `∞` for infinity."""
    if math.isnan(value):
        return NONE
    # Adding 0.0 turns a rounded -0.0 into 0.0.
    return '∞' if math.isinf(value) else f'{round(value, metric.digits) + 0.0:.{metric.digits}f}'


def escape_markdown(text: str) -> str:
    """Escape what Markdown would interpret in `text`, except `|`, which `format_table` escapes."""
    return SPECIAL.sub(r'\\\g<0>', text)


def format_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table with padded columns: the first left-aligned, the others right-aligned."""
    cells = [[text.replace('|', '\\|') for text in row] for row in (head, *rows)]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    rule = ['-' * widths[0], *('-' * (width - 1) + ':' for width in widths[1:])]
    lines = [[row[0].ljust(widths[0]), *(text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True))] for row in cells]
    return '\n'.join(f'| {" | ".join(line)} |' for line in (lines[0], rule, *lines[1:]))


def metrics_with_scores(evaluation: Evaluation) -> list[Metric]:
    """Return the metrics whose mean over all images is known in at least one row."""

    def has_scores(key: str) -> bool:
        return any(not math.isnan(row.summaries[key][0].mean) for row in evaluation.rows if key in row.summaries)

    return [metric for metric in evaluation.metrics if has_scores(metric.key)]


def _format_interval(summary: Summary, metric: Metric) -> str:
    """Return a mean with its 95 % interval in brackets, or the mean alone where it has no interval."""
    mean, low, high = (format_value(value, metric) for value in (summary.mean, summary.low, summary.high))
    return mean if math.isnan(summary.low) else f'{mean} [{low}, {high}]'


def _cost_columns(evaluation: Evaluation) -> dict[str, dict[str, str]]:
    """Return the columns of time and memory, by title: the cell of each method, by name. Columns without any value are left out."""
    costs = {row.name: row.cost for row in evaluation.methods if row.cost is not None}
    columns = {'s/face': {name: f'{cost.seconds_a_face:.3f}' for name, cost in costs.items() if cost.seconds_a_face is not None}}
    for memory in dict.fromkeys(memory for cost in costs.values() for memory in cost.peak_memory):
        sizes = {name: cost.peak_memory[memory] for name, cost in costs.items() if memory in cost.peak_memory}
        columns[f'{memory} MiB'] = {name: f'{size / MIB:.0f}' for name, size in sizes.items()}
    return {title: column for title, column in columns.items() if column}


# The names of formats by file suffix, where these differ, and the formats that change pixels.
FORMATS = dict.fromkeys(('.jpg', '.jpeg', '.jfif', '.jpe'), 'JPEG') | {'.webp': 'WebP', '.tif': 'TIFF'}
LOSSY = frozenset(('JPEG', 'WebP'))

# The number of Inception features of FID: the covariance of fewer images is singular.
FID_FEATURES = 2048


def footnotes(evaluation: Evaluation) -> list[str]:
    """Return the footnotes of the main table, one line each, escaped for Markdown."""
    notes = [f'{metric.title}: {NONE}, {evaluation.gaps[metric.key]}' for metric in evaluation.metrics if metric.key in evaluation.gaps]
    for metric in evaluation.metrics:
        notes += _score_notes(evaluation, metric)
    if any(metric.compares_sets for metric in metrics_with_scores(evaluation)) and len(evaluation.names) < FID_FEATURES:
        notes.append(f'FID: far higher for fewer than {FID_FEATURES} images than for many; compare it only between equally many images')
    notes += _file_format_notes(evaluation)
    notes += _run_notes(evaluation)
    notes += _cost_notes(evaluation)
    return list(map(escape_markdown, [*notes, *(f'left out: {difference}' for difference in evaluation.differences)]))


def _score_notes(evaluation: Evaluation, metric: Metric) -> Iterator[str]:
    """Yield notes on images without a score of `metric`, and on images with an infinite one."""
    rows = [row for row in evaluation.rows if metric.key in row.summaries]
    lacking = ', '.join(f'{count} of {row.name}' for row in rows if (count := row.summaries[metric.key][0].unscored))
    if lacking:
        yield f'{metric.title}: undefined for some images, which its means leave out: {lacking}'
    same = ', '.join(f'{count} of {row.name}' for row in rows if row.name != GT and (count := _count_infinite(row, metric)))
    if same:
        yield f'{metric.title}: ∞ of images that are the same as the clean ones, so its mean is ∞, without interval and plot: {same}'


def _count_infinite(row: Row, metric: Metric) -> int:
    """Return the number of images whose score of `metric` is infinite in at least one run."""
    scores = [run.scores[metric.key] for run in row.runs if metric.key in run.scores]
    return int(np.isinf(scores).any(axis=0).sum()) if scores else 0


def _file_format_notes(evaluation: Evaluation) -> Iterator[str]:
    """Yield a note where some images are of a lossy format and others of another; the bilinear row's, which are degraded, do not count."""
    rows: dict[str, list[str]] = {}
    for row in evaluation.rows:
        names = {path.suffix.lower() for run in row.runs for path in run.files} if row.name != BILINEAR else set()
        for name in sorted({FORMATS.get(suffix, suffix[1:].upper()) for suffix in names}):
            rows.setdefault(name, []).append(row.name)
    if len(rows) > 1 and not LOSSY.isdisjoint(rows):
        listed = '; '.join(f'{name} of {", ".join(those)}' for name, those in rows.items())
        yield f'formats differ ({listed}): lossy ones change all metrics, and NIQE is better for JPEG; compare images of one format'


def _run_notes(evaluation: Evaluation) -> Iterator[str]:
    """Yield notes on methods with several runs, and on folders that hold the same images."""
    runs = ', '.join(f'{row.name} {len(row.runs)}' for row in evaluation.methods if len(row.runs) > 1)
    if runs:
        yield f'±: standard deviation of the means of several runs: {runs}'
    for roles in evaluation.identical:
        yield f'the same images, byte for byte: {" / ".join(roles)}'


def _cost_notes(evaluation: Evaluation) -> Iterator[str]:
    """Yield notes on times and memory that are not comparable."""
    costs = {row.name: row.cost for row in evaluation.methods if row.cost is not None}
    commands = ', '.join(name for name, cost in costs.items() if cost.timings == ('command',))
    if commands:
        yield f's/face: of the whole command, starting and loading included: {commands}'
    if len({measurement for cost in costs.values() for measurement in cost.measured}) > 1:
        yield f's/face, memory: not measured alike, see "cost of" in the protocol: {", ".join(costs)}'
    mixed = ', '.join(name for name, cost in costs.items() if len(cost.timings) > 1)
    if mixed:
        yield f's/face: {NONE}, of some runs the network alone was timed, of others the whole command: {mixed}'


def to_markdown(evaluation: Evaluation) -> str:
    """Return the whole report: results with footnotes, intervals, tables by |yaw|, and the protocol."""
    parts = [
        f'## Results over {len(evaluation.names)} images',
        results_table(evaluation),
        '\n'.join(f'- {note}' for note in footnotes(evaluation)),
        '### Means with 95 % intervals',
        interval_table(evaluation),
        *yaw_tables(evaluation),
        '### Protocol',
        '\n'.join(f'- {escape_markdown(topic)}: {escape_markdown(text)}' for topic, text in evaluation.protocol.items()),
    ]
    return '\n\n'.join(filter(None, parts)) + '\n'

"""State in sentences what a table of ablations can and cannot show, given how it was made."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from frex.ablation.configurations import FULL
from frex.ablation.significance import Difference, compare_with_full, compute_run_means
from frex.evaluation import Evaluation
from frex.evaluation.inputs import BILINEAR
from frex.evaluation.markdown import format_table, format_value
from frex.metrics.metric import Metric
from frex.options import FRExConfig

PAPER_ITERATIONS, PAPER_SIZE = 250_000, 512
# The number of Inception features of FID: the covariance of fewer images is singular.
FID_FEATURES = 2048
# With fewer runs on each side the 97.5 % quantile of Student's t is 2.4 or more.
FEW_RUNS = 5


@dataclass(frozen=True)
class AblationSetup:
    """How the table was made.

    `config` are the options of one configuration that was trained, None where all checkpoints are taken. `size` is the width of the
    networks' images in pixels. `taken` are the rows of taken checkpoints; `left_out` are configurations without a row, with the reason.
    `gt` is the folder of clean test images.
    """

    config: FRExConfig | None
    size: int
    seeds: Sequence[int]
    taken: Sequence[str]
    left_out: Mapping[str, str]
    gt: Path


def to_markdown(evaluation: Evaluation, setup: AblationSetup) -> str:
    """Return the caveats and, where there is a full configuration, the table of differences from it."""
    parts = ['### What this table can and cannot show', '\n'.join(f'- {each}' for each in list_caveats(evaluation, setup))]
    table = format_difference_table(evaluation)
    if table:
        parts += ['### Differences to the full configuration, with 95 % intervals over runs', table]
    return '\n\n'.join(parts) + '\n'


def format_difference_table(evaluation: Evaluation) -> str:
    """Return a table of the differences from the full configuration, one row per configuration; empty where there is none.

    A difference is bold where its interval excludes 0.
    """
    found = compare_with_full(evaluation)
    metrics = [metric for metric in evaluation.metrics if any(metric.key in row for row in found.values())]
    if not metrics:
        return ''
    rows = [[name, *(_format_difference(row.get(metric.key), metric) for metric in metrics)] for name, row in found.items()]
    return format_table(['Configuration', *(f'{metric.title} ({metric.better} is better)' for metric in metrics)], rows)


def _format_difference(found: Difference | None, metric: Metric) -> str:
    """Return a difference with its interval in brackets; `-` for None."""
    if found is None:
        return '-'
    mean, low, high = (_format_signed(value, metric) for value in found)
    if math.isnan(found.low):
        return mean
    return f'**{mean}** [{low}, {high}]' if found.is_clear else f'{mean} [{low}, {high}]'


def _format_signed(value: float, metric: Metric) -> str:
    """Return a value with the metric's number of decimals and its sign, also where it is positive."""
    text = format_value(value, metric)
    return text if text.startswith(('-', '∞')) else f'+{text}'


def list_caveats(evaluation: Evaluation, setup: AblationSetup) -> list[str]:
    """Return the caveats as sentences: first how the table was made, then what follows from it."""
    return [
        *_list_setup_notes(setup),
        *(f'{name} has no row: {reason}.' for name, reason in setup.left_out.items()),
        *_list_limits(evaluation, setup),
        *_list_significance_notes(evaluation),
    ]


def _list_setup_notes(setup: AblationSetup) -> list[str]:
    """Return sentences on the training, taken checkpoints and test images."""
    lines = []
    if setup.config is not None and setup.config.train is not None:
        seeds = ', '.join(map(str, setup.seeds))
        lines.append(
            f'Each configuration was trained for {setup.config.train.total_iter:,} iterations '
            f'of {setup.config.face_sets["train"].batch_size_per_gpu} faces a GPU '
            f'at {setup.size} x {setup.size}, with the seeds {seeds}; a seed determines the initial weights and all random numbers.'
        )
    if setup.taken:
        lines.append(f'Taken from checkpoints as they are, however they were trained: {", ".join(setup.taken)}.')
    lines.append('All configurations restored the same degraded images.')
    return lines


def _list_limits(evaluation: Evaluation, setup: AblationSetup) -> list[str]:
    """Return sentences on short training, random priors, test images seen in training, few images, and results worse than their input."""
    lines, config, count = [], setup.config, len(evaluation.names)
    if config is not None and config.train is not None:
        if config.train.total_iter < PAPER_ITERATIONS or setup.size < PAPER_SIZE:
            lines.append(
                f'The paper trains {PAPER_ITERATIONS:,} iterations at {PAPER_SIZE} x {PAPER_SIZE}. A shorter or smaller training shows '
                'that each part can be taken away and that all is measured; it does not show what a part is worth at the end.'
            )
        if not any(config.path.file(name) for name in ('g', 'eg3d', 'stylegan2')):
            lines.append('The priors have random weights: this table cannot show what a trained 3D or 2D prior contributes.')
        if _is_within(setup.gt, config.face_sets['train'].dataroot_gt):
            lines.append('The test images are training images: this table shows nothing about other faces.')
    if any(metric.compares_sets and metric.key not in evaluation.gaps for metric in evaluation.metrics) and count < FID_FEATURES:
        lines.append(f'FID is of {count} images, fewer than its {FID_FEATURES:,} features: do not compare it with the FID of other sets.')
    return lines + _list_bilinear_notes(evaluation)


def _list_bilinear_notes(evaluation: Evaluation) -> list[str]:
    """Return a sentence on the metrics in which no run is closer to the clean images than its degraded input; empty where there is none."""
    input_row = next((row for row in evaluation.rows if row.name == BILINEAR), None)
    if input_row is None:
        return []
    means = {
        metric: compute_run_means(input_row, metric)
        for metric in evaluation.metrics
        if metric.needs_gt and metric.key in input_row.summaries
    }
    worse = [
        metric.title
        for metric, own in means.items()
        if own and not any(_is_better(mean, own[0], metric) for row in evaluation.methods for mean in compute_run_means(row, metric))
    ]
    return [f'No run comes nearer to the clean images than its input does by {", ".join(worse)}: too little training to compare.'] * bool(
        worse
    )


def _is_better(one: float, other: float, metric: Metric) -> bool:
    """Return whether `one` is a better value of the metric than `other`."""
    return one > other if metric.better == 'higher' else one < other


def _is_within(gt: Path, trained: str) -> bool:
    """Return whether the test images lie in the folder of the training images."""
    return gt.resolve().is_relative_to(Path(trained).expanduser().resolve())


def _list_significance_notes(evaluation: Evaluation) -> list[str]:
    """Return sentences on which differences from the full configuration exceed the random variation between runs."""
    found = [(name, key, each) for name, row in compare_with_full(evaluation).items() for key, each in row.items()]
    if not any(row.name == FULL for row in evaluation.methods):
        return ['The full configuration is not among the rows, so there are no differences from it.']
    sure = [(name, key, each) for name, key, each in found if not math.isnan(each.low)]
    if not sure:
        return ['Fewer than two runs that differ: no difference here can be told from chance.']
    titles = {metric.key: metric for metric in evaluation.metrics}
    clear = [f'{name} in {titles[key].title} ({_describe_direction(each, titles[key])})' for name, key, each in sure if each.is_clear]
    lines = [
        f"A difference counts where Welch's 95 % interval over runs leaves out 0: {', '.join(clear) or 'none does'}.",
        f'There are {len(sure)} such intervals, of which about {len(sure) / 20:.1f} leave out 0 by chance alone.',
    ]
    fewest = min(len(row.runs) for row in evaluation.methods)
    return lines + ([f'With {fewest} runs the intervals are wide: small differences cannot show.'] if fewest < FEW_RUNS else [])


def _describe_direction(found: Difference, metric: Metric) -> str:
    """Return whether a difference means `better than full` or `worse than full`."""
    return 'better than full' if _is_better(found.mean, 0, metric) else 'worse than full'

"""Summarize the scores of many restored images: means over all, by |yaw| and by severity, and the goals that they are held to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

INPUT = 'input'
# Bins of |yaw| in degrees.
YAW_BINS = ((0, 15), (15, 30), (30, 90))
SEVERITIES = 5
# Title, digits and whether more is better.
COLUMNS = {
    'psnr': ('PSNR', 2, True),
    'ssim': ('SSIM', 4, True),
    'stlpips_vgg': ('ST-LPIPS (VGG16)', 4, False),
    'stlpips_alex': ('ST-LPIPS (AlexNet)', 4, False),
    'identity': ('identity cosine', 4, True),
}

# Metric -> one score for each degraded image.
Scores = Mapping[str, Float[np.ndarray, ' image']]
# Metric -> mean.
Means = dict[str, float]


@dataclass(frozen=True)
class Group:
    """A part of the degraded images of a preset, which `members` marks."""

    title: str
    members: Bool[np.ndarray, ' image']


def rank_severity(input_psnr: Float[np.ndarray, ' image']) -> Int[np.ndarray, ' image']:
    """Return the severity of each degraded image by the PSNR of the input: 1 for the mildest fifth to 5 for the worst."""
    # By rank, so that equal scores do not make one fifth larger than another.
    ranks = np.argsort(np.argsort(-input_psnr, kind='stable'), kind='stable')
    return 1 + ranks * SEVERITIES // len(ranks)


def group_images(yaw: Float[np.ndarray, ' image'], input_psnr: Float[np.ndarray, ' image']) -> list[Group]:
    """Return a group of all images, of each bin of |yaw| and of each severity that has any; `yaw` is in degrees."""
    severity = rank_severity(input_psnr)
    everything = [Group('all', np.full(len(yaw), True))]
    by_yaw = [Group(f'|yaw| {low} to {high}', (low <= abs(yaw)) & (abs(yaw) < high)) for low, high in YAW_BINS]
    by_severity = [Group(f'severity {level}', severity == level) for level in range(1, SEVERITIES + 1)]
    return [group for group in (*everything, *by_yaw, *by_severity) if group.members.any()]


def compute_means(rows: Mapping[str, Scores], group: Group) -> dict[str, Means]:
    """Return the mean of each metric of each row over a group; `better` is the fraction of images whose PSNR is above the input's.

    The PSNR of an image that its degradation left unchanged is infinite: such images take no part in the means of PSNR of all rows.
    """
    means = {name: {metric: float(values[group.members].mean()) for metric, values in scores.items()} for name, scores in rows.items()}
    changed = group.members & np.isfinite(rows[INPUT]['psnr'])
    for name, scores in rows.items():
        means[name]['psnr'] = float(scores['psnr'][changed].mean()) if changed.any() else float('inf')
        if name != INPUT:
            means[name]['better'] = float((scores['psnr'] > rows[INPUT]['psnr'])[group.members].mean())
    return means


# --- Goals


def check_goals(preset: str, means: Mapping[str, Mapping[str, Means]], name: str, trunk: str) -> dict[str, bool]:
    """Return by goal whether the row `name` reaches it.

    `means` are those of each group of a preset; `trunk` is the key of the ST-LPIPS metric that was not trained with. Goals of a metric that
    was not measured are left out.
    """
    overall, before = means['all'][name], means['all'][INPUT]
    goals = {'SSIM + 0.08': overall['ssim'] >= before['ssim'] + 0.08}
    if preset == 'paper':
        goals['PSNR + 2.0 dB'] = overall['psnr'] >= before['psnr'] + 2.0
    if trunk in overall:
        goals['ST-LPIPS at most 0.65 of the input'] = overall[trunk] <= 0.65 * before[trunk]
    if 'identity' in overall:
        goals['identity above the input'] = overall['identity'] > before['identity']
    by_yaw = [group for title, group in means.items() if title.startswith('|yaw|')]
    goals['PSNR above the input in every bin of |yaw|'] = all(group[name]['psnr'] > group[INPUT]['psnr'] for group in by_yaw)
    if trunk in overall:
        goals['ST-LPIPS below the input in every bin of |yaw|'] = all(group[name][trunk] < group[INPUT][trunk] for group in by_yaw)
    mildest = means['severity 1']
    goals['severity 1 at most 0.3 dB below the input'] = mildest[name]['psnr'] >= mildest[INPUT]['psnr'] - 0.3
    return goals


# --- Tables


def to_markdown(
    means: Mapping[str, Mapping[str, Mapping[str, Means]]],
    counts: Mapping[str, Mapping[str, int]],
    goals: Mapping[str, Mapping[str, Mapping[str, bool]]],
    notes: Sequence[str],
) -> str:
    """Return the tables of each preset, the goals of each row, and notes; `means` and `counts` are by preset and group."""
    parts = []
    for preset, groups in means.items():
        parts += [f'## Preset {preset}', _format_table({'all': groups['all']}, counts[preset])]
        for start in ('|yaw|', 'severity'):
            parts.append(_format_table({title: rows for title, rows in groups.items() if title.startswith(start)}, counts[preset]))
    if goals:
        parts.append('## Goals')
    for name, presets in goals.items():
        parts.append('\n'.join(f'- {name}, {preset}: {_format_goals(reached)}' for preset, reached in presets.items()))
    return '\n\n'.join([*parts, '## How it was measured', '\n'.join(f'- {note}' for note in notes)]) + '\n'


def _format_goals(reached: Mapping[str, bool]) -> str:
    sides = {
        word: [goal for goal, is_reached in reached.items() if is_reached == value]
        for word, value in (('reached', True), ('missed', False))
    }
    return '; '.join(f'{word} {len(goals)}: {", ".join(goals)}' for word, goals in sides.items() if goals)


def _format_table(groups: Mapping[str, Mapping[str, Means]], counts: Mapping[str, int]) -> str:
    """Return a table with one line per group and row; the first column is the group with its number of images."""
    first = next(iter(next(iter(groups.values())).values()))
    metrics = [metric for metric in COLUMNS if metric in first]
    head = ['images', 'row', *(f'{COLUMNS[metric][0]} {"↑" if COLUMNS[metric][2] else "↓"}' for metric in metrics), 'better']
    lines = [head, ['---', '---', *['---:'] * (len(head) - 2)]]
    for title, rows in groups.items():
        for name, means in rows.items():
            group = f'{title} ({counts[title]})'.replace('|', '\\|') if name == INPUT else ''
            lines.append([group, name, *(f'{means[metric]:.{COLUMNS[metric][1]}f}' for metric in metrics), _format_percent(means)])
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def _format_percent(means: Means) -> str:
    return f'{means["better"]:.0%}' if 'better' in means else ''

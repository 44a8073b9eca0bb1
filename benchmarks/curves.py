"""Plot the losses and the validations of training runs.

    python benchmarks/curves.py experiments/small_3_stage_b experiments/small_4_finish -o benchmarks/results/small

writes `NAME.png` for each folder of a run.
"""

from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from frex.models.scalars import read_scalars

COLUMNS = 4


def draw_curves(run: Path, title: str, image: Path) -> dict[str, list[float]]:
    """Plot the losses, the critics' scores and the PSNR of validations of the run in the folder `run` into the PNG `image`.

    Returns the means of each loss and score over the first and over the last tenth of the logged steps. `title` stands above the plots. The
    run must have logged a step.
    """
    from matplotlib.figure import Figure

    records = read_scalars(run / 'scalars.jsonl')
    steps = [record for record in records if 'epoch' in record]
    validations = [record for record in records if 'psnr' in record]
    names = [key for key in steps[-1] if key.startswith(('l_', 'real_score', 'fake_score'))]
    rows = -(-(len(names) + 1) // COLUMNS)
    figure = Figure(figsize=(3.2 * COLUMNS, 2.1 * rows), layout='constrained')
    for place, key in enumerate(names, 1):
        axes = figure.add_subplot(rows, COLUMNS, place, title=key)
        values = _column(steps, key)
        axes.plot(_column(steps, 'iter'), values, color='lightgrey')
        axes.plot(_column(steps, 'iter'), smooth(values))
    axes = figure.add_subplot(rows, COLUMNS, len(names) + 1, title='validation, PSNR in dB')
    axes.plot(_column(validations, 'iter'), _column(validations, 'psnr'), marker='o')
    figure.suptitle(title)
    figure.savefig(image, dpi=80)
    tenth = max(1, len(steps) // 10)
    return {key: [float(np.mean(_column(part, key))) for part in (steps[:tenth], steps[-tenth:])] for key in names}


def _column(records: Sequence[dict[str, Any]], key: str) -> list[float]:
    return [record[key] for record in records]


def smooth(values: Sequence[float]) -> list[float]:
    """Return the exponential moving average of `values`, which must not be empty, with weight 0.1 for the newest."""
    mean, answer = values[0], []
    for value in values:
        mean += 0.1 * (value - mean)
        answer.append(mean)
    return answer


if __name__ == '__main__':
    parser = ArgumentParser(description=__doc__.partition('\n')[0], allow_abbrev=False)
    parser.add_argument('runs', nargs='+', type=Path, metavar='DIR', help='folder of a run in experiments/')
    parser.add_argument('-o', '--output', required=True, type=Path, metavar='DIR')
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    for run in args.runs:
        draw_curves(run, run.name, args.output / f'{run.name}.png')

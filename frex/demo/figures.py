"""What the demo shows: a labelled comparison, and heads that turn."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from frex.demo.sample import Sample
from frex.files import replacing
from frex.images import Image, resize, write_image

COLUMNS = ('input', 'restored', 'truth')
# Inches of a cell, and of a cell that shows a whole photograph.
CELL, PHOTOGRAPH = 1.5, 2.0
FRAME_MILLISECONDS = 120
SHOWN_SIZE = 256


def write_comparison(samples: Sequence[Sample], path: Path, title: str) -> None:
    """Write a grid: a row for each degradation, in it input, restored and truth of each portrait."""
    from matplotlib.figure import Figure

    rows = {name: [sample for sample in samples if sample.row == name] for name in dict.fromkeys(sample.row for sample in samples)}
    columns = len(COLUMNS) * max(map(len, rows.values()))
    heights = [CELL if own[0].output is not None else PHOTOGRAPH for own in rows.values()]
    figure = Figure(figsize=(CELL * columns + 0.4, sum(heights) + 0.3 * len(rows) + 0.4), layout='constrained')
    grid = figure.add_gridspec(len(rows), columns, height_ratios=heights)
    for row, (name, own) in enumerate(rows.items()):
        for column, (image, label) in enumerate(_cells(own)):
            axes = figure.add_subplot(grid[row, column])
            axes.imshow(image[:, :, ::-1], interpolation='bilinear')
            axes.set_title(label, fontsize=8)
            axes.set_xticks([])
            axes.set_yticks([])
            if column == 0:
                axes.set_ylabel(name.replace(', ', ',\n'), fontsize=9)
    figure.suptitle(title, fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        figure.savefig(part, dpi=100, format='png')


def _cells(samples: Sequence[Sample]) -> Iterator[tuple[Image, str]]:
    """Yield the images of a row with their labels."""
    for sample in samples:
        for number, (image, column) in enumerate(zip(sample.images, COLUMNS, strict=True)):
            yield image, f'{column}, {sample.psnr[number]:.1f} dB' if number < len(sample.psnr) else column


def write_turntable(heads: Sequence[Sequence[Image]], folder: Path) -> None:
    """Write `turntable.gif`, in which the heads turn side by side, and `turntable_strip.png`, a row of views for each head."""
    write_image(folder / 'turntable_strip.png', np.vstack([np.hstack(list(views)) for views in heads]))
    # Small views are enlarged, so that they can be looked at.
    frames = [np.hstack([resize(view, max(SHOWN_SIZE, view.shape[0])) for view in views]) for views in zip(*heads, strict=True)]
    # To the other side, and back.
    shown = [PillowImage.fromarray(np.ascontiguousarray(frame[:, :, ::-1])) for frame in (*frames, *frames[-2:0:-1])]
    with replacing(folder / 'turntable.gif') as part:
        shown[0].save(part, format='GIF', save_all=True, append_images=shown[1:], duration=FRAME_MILLISECONDS, loop=0)

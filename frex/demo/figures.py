"""Draw the demo's figures: a labelled comparison, and heads that turn."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from frex.demo.sample import Sample
from frex.images import Image, resize, write_image
from frex.utils.files import write_atomically

COLUMNS = ('input', 'restored', 'truth')
# In pixels: width of a cell, width of the margin for the names of the rows, gap between cells, height of a line of text.
CELL, MARGIN, GAP, LINE = 192, 132, 6, 20
FONT_SIZE = 14
FRAME_MILLISECONDS = 120
SHOWN_SIZE = 256


def write_comparison(samples: Sequence[Sample], path: Path, title: str) -> None:
    """Write a grid with one row per degradation: input, restored and truth of each portrait."""
    rows = [[sample for sample in samples if sample.row == name] for name in dict.fromkeys(sample.row for sample in samples)]
    heights = [LINE + max(_fit_to_cell(sample.images[0]).shape[0] for sample in row) + GAP for row in rows]
    columns = len(COLUMNS) * max(map(len, rows))
    canvas = PillowImage.new('RGB', (MARGIN + columns * (CELL + GAP), LINE + 2 * GAP + sum(heights)), 'white')
    _write(canvas, (MARGIN, GAP), title)
    top = LINE + 2 * GAP
    for row, height in zip(rows, heights, strict=True):
        _write(canvas, (GAP, top + LINE), row[0].row.replace(', ', ',\n'))
        for column, (image, label) in enumerate(cell for sample in row for cell in _cells(sample)):
            left = MARGIN + column * (CELL + GAP)
            _write(canvas, (left, top), label)
            canvas.paste(_as_pillow(_fit_to_cell(image)), (left, top + LINE))
        top += height
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(path) as part:
        canvas.save(part, format='PNG')


def _cells(sample: Sample) -> list[tuple[Image, str]]:
    """Return the images of a sample with their labels."""
    labels = [f'{name}, {decibels:.1f} dB' for name, decibels in zip(COLUMNS, sample.psnr, strict=False)]
    return list(zip(sample.images, [*labels, COLUMNS[-1]], strict=True))


def _fit_to_cell(image: Image) -> np.ndarray:
    """Return an image resized to the width of a cell."""
    scale = CELL / image.shape[1]
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(image, (CELL, round(scale * image.shape[0])), interpolation=interpolation)


def _write(canvas: PillowImage.Image, corner: tuple[int, int], text: str) -> None:
    """Write black text into an image; `corner` is the upper left corner of the text."""
    ImageDraw.Draw(canvas).text(corner, text, fill='black', font=ImageFont.load_default(FONT_SIZE))


def _as_pillow(image: np.ndarray) -> PillowImage.Image:
    """Return a BGR image as a Pillow image."""
    return PillowImage.fromarray(np.ascontiguousarray(image[:, :, ::-1]))


def write_turntable(heads: Sequence[Sequence[Image]], folder: Path) -> None:
    """Write `turntable.gif`, in which the heads turn side by side, and `turntable_strip.png`, one row of views per head."""
    write_image(folder / 'turntable_strip.png', np.vstack([np.hstack(list(views)) for views in heads]))
    # Small views are enlarged.
    frames = [np.hstack([resize(view, max(SHOWN_SIZE, view.shape[0])) for view in views]) for views in zip(*heads, strict=True)]
    # The heads turn to the other side and back.
    shown = [_as_pillow(frame) for frame in (*frames, *frames[-2:0:-1])]
    with write_atomically(folder / 'turntable.gif') as part:
        shown[0].save(part, format='GIF', save_all=True, append_images=shown[1:], duration=FRAME_MILLISECONDS, loop=0)

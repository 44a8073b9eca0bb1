"""Draw the demo's figures: a labelled comparison, and turning heads."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from frex.demo.portraits import RestoredPortrait
from frex.images import Image, resize, write_image
from frex.utils.files import write_atomically

COLUMNS = ('input', 'restored', 'truth')
# In pixels: width of a cell, width of the margin for the names of the rows, gap between cells, height of a line of text.
CELL, MARGIN, GAP, LINE = 192, 132, 6, 20
FONT_SIZE = 14
FRAME_MILLISECONDS = 120
SHOWN_SIZE = 256


def write_comparison(samples: Sequence[RestoredPortrait], path: Path, title: str) -> None:
    """Write a PNG with one row per degradation: input, restored image and truth of each portrait, side by side."""
    rows = [[sample for sample in samples if sample.row == name] for name in dict.fromkeys(sample.row for sample in samples)]
    heights = [LINE + max(_fit_to_cell(sample.images[0]).shape[0] for sample in row) + GAP for row in rows]
    columns = len(COLUMNS) * max(map(len, rows))
    canvas = PillowImage.new('RGB', (MARGIN + columns * (CELL + GAP), LINE + 2 * GAP + sum(heights)), 'white')
    _write_text(canvas, (MARGIN, GAP), title)
    top = LINE + 2 * GAP
    for row, height in zip(rows, heights, strict=True):
        _write_text(canvas, (GAP, top + LINE), row[0].row.replace(', ', ',\n'))
        for column, (image, label) in enumerate(cell for sample in row for cell in _label_images(sample)):
            left = MARGIN + column * (CELL + GAP)
            _write_text(canvas, (left, top), label)
            canvas.paste(_to_pillow(_fit_to_cell(image)), (left, top + LINE))
        top += height
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(path) as part:
        canvas.save(part, format='PNG')


def _label_images(sample: RestoredPortrait) -> list[tuple[Image, str]]:
    """Return the three images of a portrait with their labels, which for the first two contain the PSNR."""
    labels = [f'{name}, {decibels:.1f} dB' for name, decibels in zip(COLUMNS, sample.psnr, strict=False)]
    return list(zip(sample.images, [*labels, COLUMNS[-1]], strict=True))


def _fit_to_cell(image: Image) -> np.ndarray:
    """Return an image resized to the width of a cell, with its own aspect ratio."""
    scale = CELL / image.shape[1]
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(image, (CELL, round(scale * image.shape[0])), interpolation=interpolation)


def _write_text(canvas: PillowImage.Image, corner: tuple[int, int], text: str) -> None:
    """Write black text on `canvas`; `corner` is the upper left corner of the text, (x, y) in pixels."""
    ImageDraw.Draw(canvas).text(corner, text, fill='black', font=ImageFont.load_default(FONT_SIZE))


def _to_pillow(image: np.ndarray) -> PillowImage.Image:
    """Convert a BGR image to a Pillow image."""
    return PillowImage.fromarray(np.ascontiguousarray(image[:, :, ::-1]))


def write_turntable(heads: Sequence[Sequence[Image]], folder: Path) -> None:
    """Write `turntable.gif`, in which the heads turn side by side, and `turntable_strip.png`, one row of views per head.

    `heads` holds the views of each head, BGR, from one side to the other. All heads must have equally many views of one size.
    """
    write_image(folder / 'turntable_strip.png', np.vstack([np.hstack(list(views)) for views in heads]))
    # Small views are enlarged.
    frames = [np.hstack([resize(view, max(SHOWN_SIZE, view.shape[0])) for view in views]) for views in zip(*heads, strict=True)]
    # The heads turn to the other side and back.
    shown = [_to_pillow(frame) for frame in (*frames, *frames[-2:0:-1])]
    with write_atomically(folder / 'turntable.gif') as part:
        shown[0].save(part, format='GIF', save_all=True, append_images=shown[1:], duration=FRAME_MILLISECONDS, loop=0)

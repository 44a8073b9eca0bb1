"""Contact sheets: many small images in one, with a caption under each."""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import UInt8

from frex.images import Image, resize

# The space to the right of each image and below its caption, and the height of a caption, in pixels.
MARGIN, LINE = 6, 18
FONT, FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.42


def draw_contact_sheet(
    images: Sequence[Image], captions: Sequence[str], columns: int = 8, size: int = 160
) -> UInt8[np.ndarray, 'sheet_height sheet_width 3']:
    """Return a white sheet, BGR uint8, with `images` row by row, resized to `size` x `size` pixels, and a caption under each.

    Raises ValueError unless there are as many captions as images. At the default size about 22 letters of a caption fit.
    """
    tiles = [_tile(image, caption, size) for image, caption in zip(images, captions, strict=True)]
    columns = min(columns, len(tiles))
    blank = np.full_like(tiles[0], 255)
    tiles += [blank] * (-len(tiles) % columns)
    return np.vstack([np.hstack(tiles[first : first + columns]) for first in range(0, len(tiles), columns)])


def _tile(image: Image, caption: str, size: int) -> UInt8[np.ndarray, 'tile_height tile_width 3']:
    tile = np.full((size + MARGIN + LINE, size + MARGIN, 3), 255, dtype=np.uint8)
    tile[:size, :size] = resize(image, size)
    # File names need not be valid Unicode. OpenCV ends the process where a text is none.
    cv2.putText(tile, caption.encode(errors='replace').decode(), (0, size + LINE - 5), FONT, FONT_SCALE, (0, 0, 0), 1, cv2.LINE_AA)
    return tile

"""EG3D's `cropping_params.json`: how each image of FFHQ was cut to EG3D's crop.

By file name: `lm`, five landmarks (left eye, right eye, nose, corners of the mouth; x, y from the top left) in pixels of an
alignment of REALIGNED pixels that shows 1.8 times as much as FFHQ's; `lm3d_std`, the same on the mean head; `rescale_factor`,
pixels for one of its units; `center_crop_size`, how many pixels of those are EG3D's crop; `output_size`, to which it is resized.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from frex.data.landmarks import fit_head
from frex.errors import FRExError

REALIGNED = 1500
# Of the realigned image's width, FFHQ's own square.
FFHQ_PART = 1 / 1.8
# EG3D cuts this out first, and `center_crop_size` from its middle.
FIRST_CUT = 1024


def read_cropping_params(path: Path) -> dict[str, Float32[np.ndarray, '3']]:
    """By file name, the crop from FFHQ's alignment to EG3D's; raises FRExError where the file is missing or none of these."""
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise FRExError(f'cropping_params: {path} cannot be read ({error})') from None
    if not isinstance(content, dict) or not content:
        raise FRExError(f"cropping_params: {path} is not EG3D's cropping_params.json, {{file name: {{'lm': ..., ...}}, ...}}")
    crops = {}
    for name, entry in content.items():
        try:
            crops[name] = crop_of(entry)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise FRExError(f'cropping_params: {path}: {name} is no entry of EG3D ({error!r})') from None
    return crops


def crop_of(entry: dict[str, Any]) -> Float32[np.ndarray, '3']:
    """The crop that an entry of the file describes, to the pixel as EG3D's tool rounds it.

    Raises KeyError, TypeError, ValueError or OverflowError where the entry is not EG3D's.
    """
    landmarks = np.asarray(entry['lm'], dtype=np.float64).reshape(5, 2)
    head = np.asarray(entry['lm3d_std'], dtype=np.float64).reshape(5, 3)
    unit, centre = fit_head(landmarks, head)
    # EG3D turns y upside down around the middle of the last row and back around the edge.
    centre = np.add(centre, (0, 1))
    scale = float(entry['rescale_factor']) / unit
    size = int(REALIGNED * scale)
    window = int(entry['center_crop_size'])
    if window <= 0:
        raise ValueError(f'center_crop_size {window}')
    first = np.trunc(size / 2 - FIRST_CUT / 2 + (centre - REALIGNED / 2) * scale)
    start = first + int(FIRST_CUT / 2 - window / 2)
    # Realigned, FFHQ's square begins here; all in widths of the crop from now on.
    begin = size * (1 - FFHQ_PART) / 2
    crop = np.array([size * FFHQ_PART, *(begin - start)], dtype=np.float32) / window
    if not np.isfinite(crop).all() or not 0.1 < crop[0] < 10:
        raise ValueError(f'a crop of {crop.tolist()}')
    return crop

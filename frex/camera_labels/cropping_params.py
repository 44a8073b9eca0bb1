"""Read EG3D's `cropping_params.json`, which says how each image of FFHQ was cropped for EG3D.

An entry, by file name, has: `lm`, five landmarks (eyes, nose, corners of the mouth; left before right as seen in the image; x, y from the
top left) in pixels of an alignment, REALIGNED_SIZE wide, that shows 1.8 times as much as FFHQ's; `lm3d_std`, the same points of the mean
head; `rescale_factor`, the pixels of one unit of `lm3d_std` after the alignment is resized; `center_crop_size`, the width of EG3D's crop in
pixels of the resized alignment; `output_size`, the width to which the crop is resized.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from frex.data.landmarks import fit_head
from frex.errors import FRExError
from frex.utils.files import read_regular

REALIGNED_SIZE = 1500
# The width of FFHQ's square as a fraction of the realigned image.
FFHQ_FRACTION = 1 / 1.8
# EG3D first crops a square of this width in pixels, then one of `center_crop_size` from its middle.
FIRST_CUT = 1024


def read_cropping_params(path: Path) -> dict[str, Float32[np.ndarray, '3']]:
    """Return the crop (s, t_x, t_y) from FFHQ's alignment to EG3D's crop (see `frex_arch.crop`), by file name.

    Raises FRExError where the file is missing or has another layout.
    """
    try:
        content = json.loads(read_regular(path))
    except (OSError, ValueError) as error:
        raise FRExError(f'cropping_params: {path} cannot be read ({error})') from None
    if not isinstance(content, dict) or not content:
        raise FRExError(f"cropping_params: {path} is not EG3D's cropping_params.json, {{file name: {{'lm': ..., ...}}, ...}}")
    crops = {}
    for name, entry in content.items():
        try:
            crops[name] = compute_crop(entry)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise FRExError(f'cropping_params: {path}: {name} is no entry of EG3D ({error!r})') from None
    return crops


def compute_crop(entry: dict[str, Any]) -> Float32[np.ndarray, '3']:
    """Return the crop (s, t_x, t_y) from FFHQ's alignment to EG3D's crop for an entry of the file, rounded to pixels as EG3D's tool does.

    Raises KeyError, TypeError, ValueError or OverflowError where the entry is invalid.
    """
    landmarks = np.asarray(entry['lm'], dtype=np.float64).reshape(5, 2)
    head = np.asarray(entry['lm3d_std'], dtype=np.float64).reshape(5, 3)
    unit, centre = fit_head(landmarks, head)
    # EG3D flips y about the middle of the last row and back about the edge, which moves it by one pixel.
    centre = np.add(centre, (0, 1))
    scale = float(entry['rescale_factor']) / unit
    size = int(REALIGNED_SIZE * scale)
    window = int(entry['center_crop_size'])
    if window <= 0:
        raise ValueError(f'center_crop_size {window}')
    first = np.trunc(size / 2 - FIRST_CUT / 2 + (centre - REALIGNED_SIZE / 2) * scale)
    start = first + int(FIRST_CUT / 2 - window / 2)
    # FFHQ's square begins here in the realigned image. The crop is in widths of EG3D's crop.
    begin = size * (1 - FFHQ_FRACTION) / 2
    crop = np.array([size * FFHQ_FRACTION, *(begin - start)], dtype=np.float32) / window
    if not np.isfinite(crop).all() or not 0.1 < crop[0] < 10:
        raise ValueError(f'a crop of {crop.tolist()}')
    return crop

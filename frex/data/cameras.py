"""Camera labels in EG3D's `dataset.json`, keyed by file name, never by position."""

import json
from collections import Counter
from pathlib import Path

import numpy as np

from frex.errors import FRExError


def read_cameras(path: Path) -> dict[str, np.ndarray]:
    """File name -> 25 numbers, float32; a name that stands in one folder only is also known without it.

    Raises FRExError where the file is missing or not in EG3D's layout.
    """
    try:
        labels = json.loads(path.read_text(encoding='utf-8'))['labels']
        cameras = {Path(name).as_posix(): np.asarray(camera, dtype=np.float32) for name, camera in labels}
    except OSError as error:
        raise FRExError(f'camera_labels: {path} cannot be read ({error.strerror})') from None
    except (ValueError, KeyError, TypeError) as error:
        raise FRExError(
            f"camera_labels: {path} is not EG3D's dataset.json, {{'labels': [[file name, 25 numbers], ...]}} ({error!r})"
        ) from None
    wrong = [name for name, camera in cameras.items() if camera.shape != (25,)]
    if wrong:
        raise FRExError(f'camera_labels: {path}: the label of {wrong[0]} has shape {cameras[wrong[0]].shape}, not 25 numbers')
    count = Counter(Path(name).name for name in cameras)
    return {Path(name).name: camera for name, camera in cameras.items() if count[Path(name).name] == 1} | cameras

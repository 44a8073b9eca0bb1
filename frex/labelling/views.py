"""Whether cameras look anywhere."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from frex.errors import FRExError

# By how much rounded rotations may miss R R^T = I.
TOLERANCE = 0.05


def check_views(cameras: Float32[np.ndarray, 'picture 25'], names: Sequence[str], where: str) -> None:
    """Raise FRExError, which starts with `where` and names the first, for cameras whose 3 x 3 rotation is none: as of all zeros."""
    rotations = cameras[:, :16].reshape(-1, 4, 4)[:, :3, :3].astype(np.float64)
    misses = np.abs(rotations @ rotations.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2))
    wrong = [name for name, miss in zip(names, misses, strict=True) if not miss <= TOLERANCE]
    if wrong:
        raise FRExError(f'{where}: the camera of {wrong[0]} has no rotation, so it looks nowhere ({len(wrong)} such); mend or remove it')

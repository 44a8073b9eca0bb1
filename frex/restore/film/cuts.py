"""Notice cuts in a film, where one scene ends and another begins."""

import cv2
import numpy as np
from jaxtyping import UInt8, UInt16
from msgspec import Struct

from frex.restore.image_io.color_modes import to_eight_bit

# Width and height of the copy of a frame that is compared, in pixels.
SIZE = (32, 18)
# A cut changes the copy by at least this mean difference, 0 to 1, and by this many times as much as the frames before changed.
LEAST_CHANGE, LEAST_RATIO = 0.06, 4.0
# Where no frame before is known, a change must be larger.
LEAST_FIRST_CHANGE = 0.15
# The part of the new change in the running mean of the changes.
RATE = 0.2


class CutState(Struct):
    """The copy of the last frame, its values row by row, and the running mean of the changes from frame to frame, 0 to 1."""

    copy: list[int] = []
    mean_change: float | None = None


def compare(state: CutState, image: UInt8[np.ndarray, 'height width 3'] | UInt16[np.ndarray, 'height width 3']) -> tuple[CutState, bool]:
    """Return the state after one more frame, BGR, and whether a scene begins with it; the first frame of a film begins one.

    Small copies of the frames are compared, so that noise and small movements do not count. Pans and shaking change all frames, so
    a change counts only beside the changes before it.
    """
    copy = list(map(int, cv2.resize(to_eight_bit(image), SIZE, interpolation=cv2.INTER_AREA).ravel()))
    if not state.copy:
        return CutState(copy), True
    change = float(np.abs(np.array(copy) - state.copy).mean()) / 255
    mean = state.mean_change
    if change > (LEAST_FIRST_CHANGE if mean is None else max(LEAST_CHANGE, LEAST_RATIO * mean)):
        return CutState(copy), True
    return CutState(copy, change if mean is None else mean + RATE * (change - mean)), False

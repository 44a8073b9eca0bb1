"""Decide whether a face in an image holds more detail than the result of a small network can have."""

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Shaped

from frex.restore.detection.align import Matrix, apply_affine, cut_face, inside_image, inverse, scale_of
from frex.restore.image_io.color_modes import to_eight_bit

# Networks with results of at least this many pixels a side restore every face.
LARGE_NETWORK = 512
# A face must measure at least this many times the network's size, and is examined at this many times that size.
FACTOR = 1.5
# Least ratio of the standard deviations of the lost detail and of the detail just below the network's limit.
LEAST_RATIO = 0.5
# Least ratio of the standard deviation of the lost detail to that in quiet places: noise alone has 1.1, sharp faces 1.7 and more.
LEAST_CONTRAST = 1.5
# Least standard deviation of the detail in grey levels: what is weaker comes from rounding to 8 bit and from JPEG.
LEAST_DETAIL = 1.0
# Ratio of the mean to the lower quartile of the local energy, where there is noise alone.
NOISE_MEAN = 1.25
# A row or column counts as different from the one before where their mean squared difference exceeds this part of the average.
LEAST_STEP = 0.1
# Greatest number of rows or columns examined for that: all those of a large face would take as much memory again.
MOST_LINES = 256
# The range of the aligned square, in widths, that the face fills, and the part of it that must lie in the image.
FACE = (0.2, 0.8)
LEAST_SEEN = 0.25


def has_more_detail(image: Shaped[np.ndarray, 'height width 3'], matrix: Matrix, size: int) -> bool:
    """Return whether the face that `matrix` aligns at `size` x `size` holds detail that no result of that size could have.

    `image` is BGR of 8 or 16 bit; `matrix` maps its pixels to those of the aligned square. The face is cut out at FACTOR times the
    network's size, and two bands of its luma are compared: the detail that is lost on the way to the network's size and back, and the
    detail just below, lost on the way to 1 / FACTOR of it.
    The answer is yes where all of these hold, within the part of the square that the face fills:

    - the network is smaller than LARGE_NETWORK, and the square spans at least FACTOR times its size in pixels of the image; rows and
      columns that repeat the one before do not count, so that enlarged squares of one colour are pixels of their true size;
    - the lost detail is at least LEAST_RATIO of the detail below it (a blurred or enlarged face has less: its spectrum falls steeply);
    - it varies from place to place: its standard deviation is at least LEAST_CONTRAST times that of the quieter places (noise is the
      same everywhere, while eyes, lashes and hair stand out). What noise alone would have, judged by those places, does not count;
    - it is at least LEAST_DETAIL grey levels strong.
    """
    if size >= LARGE_NETWORK or 1 / scale_of(matrix) < FACTOR or _distinct_share(image, matrix, size) / scale_of(matrix) < FACTOR:
        return False
    enlarged = round(FACTOR * size)
    matrix = matrix * (enlarged / size)
    face = cv2.cvtColor(to_eight_bit(cut_face(image, matrix, enlarged)), cv2.COLOR_BGR2GRAY).astype(np.float32)
    seen = inside_image(matrix, enlarged, image.shape[1], image.shape[0])
    seen_smaller = cv2.resize(seen.astype(np.uint8), (size, size), interpolation=cv2.INTER_NEAREST) > 0
    smaller = cv2.resize(face, (size, size), interpolation=cv2.INTER_AREA)
    lost, quiet = _energies(face, size, seen)
    below, _ = _energies(smaller, round(size / FACTOR), seen_smaller)
    if lost < LEAST_CONTRAST**2 * quiet:
        return False
    detail = lost - NOISE_MEAN * quiet
    return bool(detail >= max(LEAST_RATIO**2 * below, LEAST_DETAIL**2))


def _distinct_share(image: Shaped[np.ndarray, 'height width 3'], matrix: Matrix, size: int) -> float:
    """Return which share, from 0 to 1, of the image's rows through the face differ clearly from the row before, or that of the columns.

    The larger of the two is returned. It is small where the image was enlarged by repeating pixels, and 0 where less than two pixels of
    the face, in width or height, lie in the image.
    """
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]) * (FACE[1] - FACE[0]) + FACE[0]
    reached = apply_affine(corners * size, inverse(matrix))
    left, top = np.clip(np.floor(reached.min(axis=0)), 0, image.shape[1::-1]).astype(int)
    right, bottom = np.clip(np.ceil(reached.max(axis=0)), 0, image.shape[1::-1]).astype(int)
    part = image[top:bottom, left:right, 1]
    shares = []
    for lines in (part, part.T):
        if min(lines.shape) < 2:
            return 0.0
        seen = lines[:: max(1, len(lines) // MOST_LINES)].astype(np.float32)
        steps = np.square(np.diff(seen, axis=1)).mean(axis=0)
        shares.append(float((steps > LEAST_STEP * steps.mean()).mean()))
    return max(shares)


def _energies(face: Float32[np.ndarray, 'size size'], size: int, seen: Bool[np.ndarray, 'size size']) -> tuple[float, float]:
    """Return mean and lower quartile of the local energy that is lost on the way to `size` and back; zeros where too little is seen."""
    full = face.shape[0]
    small = cv2.resize(face, (size, size), interpolation=cv2.INTER_AREA)
    band = face - cv2.resize(small, (full, full), interpolation=cv2.INTER_CUBIC)
    window = max(3, full // 16) | 1
    local = cv2.blur(band * band, (window, window))
    # Windows that reach beyond the image see its border, which is an edge.
    whole = cv2.erode(seen.astype(np.uint8), np.ones((window + 4, window + 4), np.uint8), borderValue=1) > 0
    part = slice(round(FACE[0] * full), round(FACE[1] * full))
    values = local[part, part][whole[part, part]]
    if values.size < LEAST_SEEN * (part.stop - part.start) ** 2:
        return 0.0, 0.0
    return float(values.mean()), float(np.quantile(values, 0.25))

"""The FFHQ alignment of a face, from five landmarks, and images seen through such a map.

A matrix maps pixels of one image to those of another. Both are counted from the top left corner of the top left pixel,
whose centre is (0.5, 0.5), so that scaling an image scales its matrices.
"""

import cv2
import numpy as np
from jaxtyping import Float, Shaped, UInt8, UInt16

from frex.errors import FRExError
from frex.images import Image

Matrix = Float[np.ndarray, '2 3']
Points = Float[np.ndarray, 'points 2']

# Eyes, nose, corners of the mouth, at 512 x 512, in the mean FFHQ face: facexlib's and so GFPGAN's template.
TEMPLATE_512 = np.array(
    [[192.98138, 239.94708], [318.90277, 240.1936], [256.63416, 314.01935], [201.26117, 371.41043], [313.08905, 371.15118]]
)
# Outside of the image, as facexlib has it; at 8 bit.
BORDER = (135, 133, 132)

# Of the aligned square, on average from the template's landmarks: 0.12 in an extreme profile, more in half of all random places.
MOST_DEVIATION = 0.13
# From the eyes down to the mouth; in the template 0.26.
LEAST_HEIGHT = 0.08
# Pixels of the image that an aligned face takes at least: fewer show nobody.
LEAST_SIDE = 8.0


def face_matrix(landmarks: Float[np.ndarray, '5 2'], size: int = 512) -> Matrix:
    """The similarity from pixels of the image to those of the aligned face of `size` x `size`.

    Raises FRExError where the landmarks fit no face: in one place, mirrored, too small, or not in a face's order.
    """
    if not np.isfinite(landmarks).all():
        raise FRExError('the five landmarks are not finite')
    template = TEMPLATE_512 * size / 512
    matrix, _ = cv2.estimateAffinePartial2D(landmarks, template, method=cv2.LMEDS)
    if matrix is None or not np.isfinite(matrix).all() or not scale_of(matrix) > 1e-6:
        raise FRExError('the five landmarks lie in one place')
    if size / scale_of(matrix) < LEAST_SIDE:
        raise FRExError(f'the face is too small: less than {LEAST_SIDE:g} pixels wide, even with its surroundings')
    if mirrored(landmarks):
        raise FRExError('the five landmarks are mirrored')
    aligned = apply_affine(landmarks, matrix) / size
    upright = aligned[3:, 1].mean() - aligned[:2, 1].mean() > LEAST_HEIGHT
    if not upright or np.linalg.norm(aligned - TEMPLATE_512 / 512, axis=1).mean() > MOST_DEVIATION:
        raise FRExError('the five landmarks do not lie as in a face')
    return matrix


def mirrored(landmarks: Float[np.ndarray, '5 2']) -> bool:
    """Whether both pairs, eyes and corners of the mouth, run from right to left when the eyes are above the mouth."""
    down = landmarks[3:].mean(axis=0) - landmarks[:2].mean(axis=0)
    across = np.stack([landmarks[1] - landmarks[0], landmarks[4] - landmarks[3]])
    return bool((across[:, 0] * down[1] - across[:, 1] * down[0] < 0).all())


def cut_face(
    image: UInt8[np.ndarray, 'height width 3'] | UInt16[np.ndarray, 'height width 3'], matrix: Matrix, size: int = 512
) -> Shaped[np.ndarray, '{size} {size} 3']:
    """The face that `matrix` aligns, of the image's own depth; grey where it reaches beyond the image."""
    border = np.array(BORDER) * (257 if image.dtype == np.uint16 else 1)
    left, top, right, bottom = region_of(matrix, size, image.shape[1], image.shape[0])
    if left >= right or top >= bottom:
        return np.full((size, size, 3), border, image.dtype)
    # Linear where it grows, as degraded faces were in training; what was averaged already would be blurred twice.
    flags = cv2.INTER_LINEAR if scale_of(matrix) >= 1 else cv2.INTER_CUBIC
    part, matrix = downscaled(image[top:bottom, left:right], compose_shift(matrix, left, top))
    return warp(part, matrix, (size, size), flags, cv2.BORDER_CONSTANT, border.tolist())


def align_face(image: Image, landmarks: Float[np.ndarray, '5 2'], size: int = 512) -> UInt8[np.ndarray, '{size} {size} 3']:
    """Cut the face at `landmarks`, in pixels of `image`; raises FRExError where they fit no face."""
    return cut_face(image, face_matrix(landmarks, size), size)


# --- Maps


def scale_of(matrix: Matrix) -> float:
    """Length after the map of one pixel before it."""
    return float(np.hypot(matrix[0, 0], matrix[1, 0]))


def apply_affine(points: Points, matrix: Matrix) -> Points:
    """Where the map puts `points`."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def inverse(matrix: Matrix) -> Matrix:
    """The map back."""
    back = np.linalg.inv(matrix[:, :2])
    return np.column_stack([back, -back @ matrix[:, 2]])


def compose_scale(matrix: Matrix, horizontal: float, vertical: float) -> Matrix:
    """The map from an image so many times as large."""
    return matrix * [1 / horizontal, 1 / vertical, 1]


def compose_shift(matrix: Matrix, left: float, top: float) -> Matrix:
    """The map from the part of the image that begins at (left, top)."""
    return np.column_stack([matrix[:, :2], apply_affine(np.array([[left, top]], float), matrix)[0]])


def region_of(matrix: Matrix, size: int, width: int, height: int) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of what the map shows in a square of `size`, with a margin to interpolate from, within the image."""
    corners = np.array([[0, 0], [size, 0], [0, size], [size, size]], float)
    reached = apply_affine(corners, inverse(matrix))
    margin = 2 + 2 / scale_of(matrix)
    # Floats of points far outside may be too large for integers.
    low = np.clip(np.floor(reached.min(axis=0) - margin), 0, (width, height)).astype(int)
    high = np.clip(np.ceil(reached.max(axis=0) + margin), 0, (width, height)).astype(int)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def downscaled(image: Shaped[np.ndarray, 'height width *channels'], matrix: Matrix) -> tuple[Shaped[np.ndarray, '_ _ *channels'], Matrix]:
    """Where the map shrinks: the image averaged to about the size that it is shown at, and the map from that. Else both as they are."""
    scale = scale_of(matrix)
    if scale >= 1:
        return image, matrix
    height, width = image.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return small, compose_scale(matrix, size[0] / width, size[1] / height)


def warp(
    image: Shaped[np.ndarray, 'height width *channels'],
    matrix: Matrix,
    size: tuple[int, int],
    flags: int,
    border: int,
    colour: list[int] | None = None,
) -> Shaped[np.ndarray, '_ _ *channels']:
    """`image` through the map, on a canvas of `size` (width, height)."""
    # OpenCV counts from the centre of the top left pixel.
    centres = np.column_stack([matrix[:, :2], apply_affine(np.array([[0.5, 0.5]]), matrix)[0] - 0.5])
    return cv2.warpAffine(image, centres, size, flags=flags, borderMode=border, borderValue=colour or 0)

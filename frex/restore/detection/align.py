"""Align faces as FFHQ does, from five landmarks, and warp images by affine matrices.

A matrix (2, 3) maps pixel coordinates of one image to those of another. Coordinates start at the top left corner of the top left
pixel, whose centre is (0.5, 0.5), so that scaling an image scales its matrices.
"""

import cv2
import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8, UInt16

from frex.errors import FRExError
from frex.images import Image

Matrix = Float[np.ndarray, '2 3']
Points = Float[np.ndarray, 'points 2']

# Eyes, nose and corners of the mouth in the mean FFHQ face at 512 x 512: the template of facexlib and so of GFPGAN.
TEMPLATE_512 = np.array(
    [[192.98138, 239.94708], [318.90277, 240.1936], [256.63416, 314.01935], [201.26117, 371.41043], [313.08905, 371.15118]]
)
# The BGR colour outside of the image, as in facexlib, at 8 bit.
BORDER = (135, 133, 132)

# Greatest mean distance of the aligned landmarks from the template, in widths of the square. An extreme profile has 0.12, and half of
# all random sets of landmarks have more.
MOST_DEVIATION = 0.13
# Least distance from the eyes down to the mouth, in widths of the aligned square; the template has 0.26.
LEAST_HEIGHT = 0.08
# Least width of the aligned square in pixels of the image: in a smaller one no face can be recognized.
LEAST_SIDE = 8.0


def face_matrix(landmarks: Float[np.ndarray, '5 2'], size: int = 512) -> Matrix:
    """Return the similarity transform from pixels of the image to those of the aligned face of `size` x `size`.

    `landmarks` are eyes, nose and corners of the mouth, in pixels. Raises FRExError where they cannot be those of a face: all in one
    place, mirrored, too close together, or not arranged as in a face.
    """
    if not np.isfinite(landmarks).all():
        raise FRExError('the five landmarks are not finite')
    template = TEMPLATE_512 * size / 512
    matrix, _ = cv2.estimateAffinePartial2D(landmarks, template, method=cv2.LMEDS)
    if matrix is None or not np.isfinite(matrix).all() or not scale_of(matrix) > 1e-6:
        raise FRExError('the five landmarks lie in one place')
    if size / scale_of(matrix) < LEAST_SIDE:
        raise FRExError(f'the face is too small: less than {LEAST_SIDE:g} pixels wide, even with its surroundings')
    if is_mirrored(landmarks):
        raise FRExError('the five landmarks are mirrored')
    aligned = apply_affine(landmarks, matrix) / size
    upright = aligned[3:, 1].mean() - aligned[:2, 1].mean() > LEAST_HEIGHT
    if not upright or np.linalg.norm(aligned - TEMPLATE_512 / 512, axis=1).mean() > MOST_DEVIATION:
        raise FRExError('the five landmarks do not lie as in a face')
    return matrix


def is_mirrored(landmarks: Float[np.ndarray, '5 2']) -> bool:
    """Return whether both pairs, eyes and corners of the mouth, run from right to left when the eyes are above the mouth."""
    down = landmarks[3:].mean(axis=0) - landmarks[:2].mean(axis=0)
    across = np.stack([landmarks[1] - landmarks[0], landmarks[4] - landmarks[3]])
    return bool((across[:, 0] * down[1] - across[:, 1] * down[0] < 0).all())


def cut_face(
    image: UInt8[np.ndarray, 'height width 3'] | UInt16[np.ndarray, 'height width 3'], matrix: Matrix, size: int = 512
) -> Shaped[np.ndarray, '{size} {size} 3']:
    """Return the square of `size` x `size` pixels to which `matrix` maps pixels of `image`: the aligned face, in the dtype of `image`.

    `image` is BGR. What lies outside of it has the colour BORDER, a grey. A face that is larger than the square is averaged first.
    """
    border = np.array(BORDER) * (257 if image.dtype == np.uint16 else 1)
    left, top, right, bottom = visible_region(matrix, size, image.shape[1], image.shape[0])
    if left >= right or top >= bottom:
        return np.full((size, size, 3), border, image.dtype)
    # Linear where the face is enlarged, as in training. Where it is reduced, `downscaled` has averaged it, and linear would blur it again.
    flags = cv2.INTER_LINEAR if scale_of(matrix) >= 1 else cv2.INTER_CUBIC
    part, matrix = downscaled(image[top:bottom, left:right], compose_shift(matrix, left, top))
    return warp(part, matrix, (size, size), flags, cv2.BORDER_CONSTANT, border.tolist())


def align_face(image: Image, landmarks: Float[np.ndarray, '5 2'], size: int = 512) -> UInt8[np.ndarray, '{size} {size} 3']:
    """Return the aligned face of `size` x `size` at `landmarks`, in pixels of `image`, which is BGR.

    Raises FRExError where the landmarks cannot be those of a face (see `face_matrix`).
    """
    return cut_face(image, face_matrix(landmarks, size), size)


# --- Affine matrices


def scale_of(matrix: Matrix) -> float:
    """Return the scale of a similarity transform: the length to which it maps one pixel."""
    return float(np.hypot(matrix[0, 0], matrix[1, 0]))


def apply_affine(points: Points, matrix: Matrix) -> Points:
    """Return `points` (N, 2) mapped by the affine transform `matrix` (2, 3)."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def inverse(matrix: Matrix) -> Matrix:
    """Return the inverse of the affine transform `matrix`, also as a matrix (2, 3)."""
    back = np.linalg.inv(matrix[:, :2])
    return np.column_stack([back, -back @ matrix[:, 2]])


def compose_scale(matrix: Matrix, horizontal: float, vertical: float) -> Matrix:
    """Return the transform for an input image that is `horizontal` times as wide and `vertical` times as high."""
    return matrix * [1 / horizontal, 1 / vertical, 1]


def compose_shift(matrix: Matrix, left: float, top: float) -> Matrix:
    """Return the transform for the crop of the input image whose top left corner is (left, top)."""
    return np.column_stack([matrix[:, :2], apply_affine(np.array([[left, top]], float), matrix)[0]])


def compose_shift_output(matrix: Matrix, left: float, top: float | None = None) -> Matrix:
    """Return the transform to the crop of the output image whose top left corner is (left, top); `top` is `left` by default."""
    return np.column_stack([matrix[:, :2], matrix[:, 2] - (left, left if top is None else top)])


def inside_image(matrix: Matrix, size: int, width: int, height: int) -> Bool[np.ndarray, '{size} {size}']:
    """Return which pixels of the aligned square of `size` x `size` lie within an image of `width` x `height`."""
    rows, columns = np.mgrid[:size, :size] + 0.5
    places = apply_affine(np.stack([columns.ravel(), rows.ravel()], axis=1), inverse(matrix))
    return ((places > 0).all(axis=1) & (places < (width, height)).all(axis=1)).reshape(size, size)


def visible_region(matrix: Matrix, size: int, width: int, height: int) -> tuple[int, int, int, int]:
    """Return the region of an image of `width` x `height` that `matrix` maps into a square of `size` x `size`.

    The region is (left, top, right, bottom), has a margin for interpolation, and is clipped to the image.
    """
    corners = np.array([[0, 0], [size, 0], [0, size], [size, size]], float)
    reached = apply_affine(corners, inverse(matrix))
    margin = 2 + 2 / scale_of(matrix)
    # Clipped before the cast: coordinates of points far outside may be too large for integers.
    low = np.clip(np.floor(reached.min(axis=0) - margin), 0, (width, height)).astype(int)
    high = np.clip(np.ceil(reached.max(axis=0) + margin), 0, (width, height)).astype(int)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def downscaled(image: Shaped[np.ndarray, 'height width *channels'], matrix: Matrix) -> tuple[Shaped[np.ndarray, '_ _ *channels'], Matrix]:
    """Return an image averaged to about the size at which `matrix` shows it, and the transform for that image.

    Where the transform does not reduce the image, both are returned unchanged.
    """
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
    """Warp `image` onto a canvas of `size` (width, height).

    `matrix` maps pixel coordinates of the image to those of the canvas. They start at the corner of the top left pixel, unlike OpenCV's.
    `flags` and `border` are those of `cv2.warpAffine`; `colour`, black by default, fills the outside for `cv2.BORDER_CONSTANT`.
    """
    # OpenCV counts from the centre of the top left pixel.
    centres = np.column_stack([matrix[:, :2], apply_affine(np.array([[0.5, 0.5]]), matrix)[0] - 0.5])
    return cv2.warpAffine(image, centres, size, flags=flags, borderMode=border, borderValue=colour or 0)

"""What is measured of a face that was found: plain numbers, no network's opinion."""

import cv2
import numpy as np

from frex.images import Image
from frex.restore.detection.align import Matrix, apply_affine, inverse

# Faces of all sizes are compared at this one.
MEASURED_SIZE = 256
# Of the aligned square, around its middle: eyes, nose and mouth.
INNER = 0.5
HASH_SIDE, HASH_BLUR = 8, 8.0
SMALL_SIDE, SMALL_BLUR = 32, 4.0
# More does not bring small faces nearer.
STEPS = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 20, 1e-3)


def sharpness(aligned: Image) -> float:
    """Variance of the Laplacian of the inner half of an aligned face of MEASURED_SIZE, in grey levels."""
    grey = cv2.cvtColor(aligned, cv2.COLOR_BGR2GRAY).astype(np.float64)
    margin = round(len(grey) * (1 - INNER) / 2)
    return float(cv2.Laplacian(grey, cv2.CV_64F)[margin:-margin, margin:-margin].var())


def share_inside(matrix: Matrix, size: int, width: int, height: int) -> float:
    """How much of the square of `size` that `matrix` aligns lies in the image."""
    corners = np.array([[0, 0], [size, 0], [size, size], [0, size]], float)
    square = apply_affine(corners, inverse(matrix)).astype(np.float32)
    picture = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    shared, _ = cv2.intersectConvexConvex(square, picture)
    return float(shared / cv2.contourArea(square))


def face_hash(aligned: Image) -> str:
    """128 bits in hexadecimal, of an aligned face of MEASURED_SIZE: whether each of 8 x 8 grey cells is brighter than its neighbours.

    They are the one to the right and the one below; blurred before, since landmarks of a small face are a few pixels off.
    """
    grey = cv2.GaussianBlur(cv2.cvtColor(aligned, cv2.COLOR_BGR2GRAY), (0, 0), HASH_BLUR)
    cells = cv2.resize(grey, (HASH_SIDE + 1, HASH_SIDE + 1), interpolation=cv2.INTER_AREA)
    brighter = [cells[:-1, :-1] > cells[:-1, 1:], cells[:-1, :-1] > cells[1:, :-1]]
    return np.packbits(np.stack(brighter)).tobytes().hex()


def hash_distance(one: str, other: str) -> int:
    """In how many bits two hashes differ (Hamming)."""
    return (int(one, 16) ^ int(other, 16)).bit_count()


def small_grey(aligned: Image) -> bytes:
    """32 x 32 grey levels, row by row, of an aligned face of MEASURED_SIZE."""
    grey = cv2.GaussianBlur(cv2.cvtColor(aligned, cv2.COLOR_BGR2GRAY), (0, 0), SMALL_BLUR)
    return cv2.resize(grey, (SMALL_SIDE, SMALL_SIDE), interpolation=cv2.INTER_AREA).tobytes()


def likeness(one: bytes, other: bytes, mirrored: bool) -> float:
    """Correlation of two small greys, up to 1, once the first, or its mirror image, is laid on the other; 0 where it cannot be.

    That is by the affine map of greatest correlation (Evangelidis and Psarakis 2008), since landmarks of a copy lie a little elsewhere.
    """
    moved, still = (np.frombuffer(grey, np.uint8).reshape(SMALL_SIDE, SMALL_SIDE).astype(np.float32) for grey in (one, other))
    moved = np.ascontiguousarray(moved[:, ::-1]) if mirrored else moved
    everywhere = np.ones(still.shape, np.uint8)
    try:
        found, _ = cv2.findTransformECC(still, moved, np.eye(2, 3, dtype=np.float32), cv2.MOTION_AFFINE, STEPS, everywhere, 1)
    except cv2.error:
        return 0.0
    return float(found)

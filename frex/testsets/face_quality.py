"""Measure a detected face: sharpness, completeness, and features by which near-duplicates are found; no network is used."""

import cv2
import numpy as np

from frex.images import Image
from frex.restore.detection.align import Matrix, apply_affine, inverse

# All measurements are of aligned faces of this width in pixels.
MEASURED_SIZE = 256
# The fraction of the aligned square, around its centre, that shows eyes, nose and mouth.
INNER = 0.5
# Width in cells, and the standard deviation in pixels of the blur before, of the hash and of the small grey version.
HASH_SIDE, HASH_BLUR = 8, 8.0
SMALL_SIDE, SMALL_BLUR = 32, 4.0
# At most 20 iterations align two faces; more do not improve the result.
STEPS = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 20, 1e-3)


def measure_sharpness(aligned: Image) -> float:
    """Return the variance of the Laplacian, in grey levels, in the inner half of an aligned face (BGR, MEASURED_SIZE wide)."""
    grey = cv2.cvtColor(aligned, cv2.COLOR_BGR2GRAY).astype(np.float64)
    margin = round(len(grey) * (1 - INNER) / 2)
    return float(cv2.Laplacian(grey, cv2.CV_64F)[margin:-margin, margin:-margin].var())


def measure_fraction_inside(matrix: Matrix, size: int, width: int, height: int) -> float:
    """Return the fraction, 0 to 1, of the aligned square that lies inside the image of `width` x `height` pixels.

    `matrix` maps pixels of the image to those of the aligned square, which is `size` pixels wide.
    """
    corners = np.array([[0, 0], [size, 0], [size, size], [0, size]], float)
    square = apply_affine(corners, inverse(matrix)).astype(np.float32)
    image = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    shared, _ = cv2.intersectConvexConvex(square, image)
    return float(shared / cv2.contourArea(square))


def hash_face(aligned: Image) -> str:
    """Return a difference hash of an aligned face (BGR, MEASURED_SIZE wide): 128 bits in hexadecimal.

    The bits say whether each of 8 x 8 grey cells is brighter than its right and than its lower neighbour. The face is blurred first, since
    the landmarks of a small face are a few pixels off.
    """
    grey = cv2.GaussianBlur(cv2.cvtColor(aligned, cv2.COLOR_BGR2GRAY), (0, 0), HASH_BLUR)
    cells = cv2.resize(grey, (HASH_SIDE + 1, HASH_SIDE + 1), interpolation=cv2.INTER_AREA)
    brighter = [cells[:-1, :-1] > cells[:-1, 1:], cells[:-1, :-1] > cells[1:, :-1]]
    return np.packbits(np.stack(brighter)).tobytes().hex()


def hash_distance(one: str, other: str) -> int:
    """Return the Hamming distance of two hashes: the number of bits, 0 to 128, in which they differ."""
    return (int(one, 16) ^ int(other, 16)).bit_count()


def shrink_to_grey(aligned: Image) -> bytes:
    """Return an aligned face (BGR, MEASURED_SIZE wide) blurred and reduced to 32 x 32 grey levels, one byte each, row by row."""
    grey = cv2.GaussianBlur(cv2.cvtColor(aligned, cv2.COLOR_BGR2GRAY), (0, 0), SMALL_BLUR)
    return cv2.resize(grey, (SMALL_SIDE, SMALL_SIDE), interpolation=cv2.INTER_AREA).tobytes()


def aligned_correlation(one: bytes, other: bytes, mirrored: bool) -> float:
    """Return the correlation, at most 1, of two results of `shrink_to_grey` after the first is aligned to the second.

    With `mirrored` the first is mirrored before. An affine map with the greatest correlation is fitted (Evangelidis and Psarakis 2008),
    since the landmarks of a copied face differ a little. Returns 0 where the fit fails.
    """
    moved, still = (np.frombuffer(grey, np.uint8).reshape(SMALL_SIDE, SMALL_SIDE).astype(np.float32) for grey in (one, other))
    moved = np.ascontiguousarray(moved[:, ::-1]) if mirrored else moved
    everywhere = np.ones(still.shape, np.uint8)
    try:
        found, _ = cv2.findTransformECC(still, moved, np.eye(2, 3, dtype=np.float32), cv2.MOTION_AFFINE, STEPS, everywhere, 1)
    except cv2.error:
        return 0.0
    return float(found)

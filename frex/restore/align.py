"""The FFHQ alignment of a face, from five landmarks."""

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from frex.errors import FRExError
from frex.images import Image

# Eyes, nose, corners of the mouth, at 512 x 512, in the mean FFHQ face: facexlib's and so GFPGAN's template.
TEMPLATE_512 = np.array(
    [[192.98138, 239.94708], [318.90277, 240.1936], [256.63416, 314.01935], [201.26117, 371.41043], [313.08905, 371.15118]]
)


def align_face(image: Image, landmarks: Float[np.ndarray, '5 2'], size: int = 512) -> UInt8[np.ndarray, '{size} {size} 3']:
    """Cut the face at `landmarks`, in pixels of `image`; raises FRExError where they fit no face."""
    matrix, _ = cv2.estimateAffinePartial2D(landmarks, TEMPLATE_512 * size / 512, method=cv2.LMEDS)
    if matrix is None:
        raise FRExError('the five landmarks lie in one place')
    # Grey outside of the picture, as facexlib has it.
    return cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderValue=(135, 133, 132))

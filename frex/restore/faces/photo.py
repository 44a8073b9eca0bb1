"""A photograph without the network: its faces found and cut out, and restored ones put back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Float, Shaped

from frex.data.landmarks import crop_to_eg3d
from frex.errors import FRExError
from frex.images import Image
from frex.restore.detection.align import Matrix, apply_affine, compose_scale, cut_face, face_matrix, scale_of
from frex.restore.detection.retinaface import DetectedFace, Detector
from frex.restore.detection.rotated import detect_in_any_turn
from frex.restore.detection.selection import Selection
from frex.restore.faces.paste import Mask, paste_face
from frex.restore.faces.resolution import has_more_detail
from frex.restore.image_io.photo_file import Picture, scaled, to_eight_bit
from frex_arch.crop import MEAN_CROP

Upsampler = Callable[[np.ndarray, tuple[int, int]], np.ndarray]
"""From a BGR image, uint8 or uint16, and a size (width, height) to that image at that size."""

# Of a box, the aligned square around its face.
SURROUNDINGS = 1.6


@dataclass(frozen=True, eq=False)
class Face:
    """A face of a photograph; pixels are counted from the top left corner of the image.

    `matrix` maps them to those of `aligned`, the face cut out, BGR at 8 bit; `crop` leads from there to EG3D's crop. Where
    the landmarks fit no face there is a `problem`, `aligned` shows the box, and the face is not to be restored. `keep` says why
    a face that could be restored is to stay as it is.
    """

    box: Float[np.ndarray, '4']
    score: float
    landmarks: Float[np.ndarray, '5 2']
    matrix: Matrix
    aligned: Image
    crop: Float[np.ndarray, '3']
    problem: str | None = None
    keep: str | None = None


def find_faces(picture: Picture, detector: Detector, size: int = 512, selection: Selection | None = None) -> list[Face]:
    """The faces that `selection` takes, the surest first, cut out at `size` x `size`."""
    selection = selection or Selection()
    height, width = picture.image.shape[:2]
    detected = detect_in_any_turn(to_eight_bit(picture.image), detector, selection.threshold)
    return [cut_out(picture, face, size) for face in selection.of(detected, width, height)]


def cut_out(picture: Picture, face: DetectedFace, size: int) -> Face:
    """Align a face; one whose landmarks fit none is cut out by its box, and says so."""
    problem = None
    try:
        matrix = face_matrix(face.landmarks, size)
        crop = crop_to_eg3d(apply_affine(face.landmarks, matrix) / size)
        if not _is_inside(face.landmarks.mean(axis=0), picture.image):
            problem = 'the face lies outside of the image'
    except (FRExError, ValueError) as error:
        matrix, crop, problem = box_matrix(face.box, size), np.array(MEAN_CROP), str(error)
    aligned = to_eight_bit(cut_face(picture.image, matrix, size))
    return Face(face.box, face.score, face.landmarks, matrix, aligned, crop, problem)


def keep_detail(picture: Picture, face: Face) -> Face:
    """Return the face, marked to stay as it is where a network's result at the size of `aligned` would have less detail."""
    size = face.aligned.shape[0]
    if face.problem is not None or not has_more_detail(picture.image, face.matrix, size):
        return face
    return replace(face, keep=f'it holds more detail than {size} x {size} pixels, the size of the result; --force restores it')


def _is_inside(point: Float[np.ndarray, '2'], image: Shaped[np.ndarray, 'height width 3']) -> bool:
    return bool((point > 0).all() and (point < (image.shape[1], image.shape[0])).all())


def box_matrix(box: Float[np.ndarray, '4'], size: int) -> Matrix:
    """The map from the upright square around a box."""
    side = SURROUNDINGS * max(1.0, box[2] - box[0], box[3] - box[1])
    corner = (box[:2] + box[2:] - side) / 2
    return size / side * np.column_stack([np.eye(2), -corner])


def paste_faces(
    picture: Picture,
    upscale: float,
    faces: Sequence[Face],
    restored: Sequence[Image | None],
    masks: Sequence[Mask | None] | None = None,
    bg_upsampler: Upsampler | None = None,
) -> Picture:
    """A new image, `upscale` times as large, with the restored faces; those that are None stay as they are.

    Where faces overlap the larger, which is probably the nearer, lies on top. `masks` are those of `paste_face`.
    """
    canvas = background(picture, upscale, bg_upsampler)
    horizontal, vertical = (new / old for new, old in zip(canvas.image.shape[1::-1], picture.image.shape[1::-1], strict=True))
    masks = masks or [None] * len(faces)
    for face, image, mask in sorted(zip(faces, restored, masks, strict=True), key=lambda item: -scale_of(item[0].matrix)):
        if image is not None and face.problem is None:
            # The restored face may be of another size than the one that was cut out.
            matrix = compose_scale(face.matrix, horizontal, vertical) * (image.shape[0] / face.aligned.shape[0])
            paste_face(canvas.image, in_grey(image) if picture.grey else image, matrix, mask)
    return canvas


def background(picture: Picture, upscale: float, upsampler: Upsampler | None = None) -> Picture:
    """The image at its new size, in memory of its own; raises FRExError where `upsampler` does not keep to its contract."""
    larger = scaled(picture, upscale)
    if upsampler is None:
        return replace(larger, image=larger.image.copy()) if np.shares_memory(larger.image, picture.image) else larger
    height, width = larger.image.shape[:2]
    image = upsampler(picture.image, (width, height))
    if image.shape != larger.image.shape or image.dtype != picture.image.dtype:
        raise FRExError(f'the upsampler made {image.dtype} {image.shape} where {picture.image.dtype} {larger.image.shape} was asked for')
    return replace(larger, image=np.array(in_grey(image) if picture.grey else image))


def in_grey(image: Shaped[np.ndarray, 'height width 3']) -> Shaped[np.ndarray, 'height width 3']:
    """All channels alike: the luma of BT.601."""
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)

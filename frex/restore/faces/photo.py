"""Find and cut out the faces of a photograph, mark those that hold more detail than a result has, and paste restored faces back.

The restoration network is not needed here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float32, Shaped

from frex.data.landmarks import crop_to_eg3d
from frex.errors import FRExError
from frex.images import AnyImage, Image
from frex.restore.detection.align import Matrix, apply_affine, compose_scale, cut_face, face_matrix
from frex.restore.detection.detector import DetectedFace, Detector
from frex.restore.detection.rotated import detect_in_any_rotation
from frex.restore.detection.selection import Selection
from frex.restore.faces.paste import Patch, paste_patches
from frex.restore.faces.resolution import has_more_detail
from frex.restore.faces.tones import Tones, find_tones
from frex.restore.image_io.color_modes import to_eight_bit, to_grey
from frex.restore.image_io.photo_file import Photo, scale_photo
from frex_arch.crop import MEAN_CROP

Upsampler = Callable[[np.ndarray, tuple[int, int]], np.ndarray]
"""A function that takes a BGR image, uint8 or uint16, and a size (width, height), and returns the image scaled to that size."""

# Side of the square that is cut out around a face without usable landmarks, in longer sides of its box.
SURROUNDINGS = 1.6


@dataclass(frozen=True, eq=False)
class Face:
    """A face of a photograph; coordinates are pixels from the top left corner of the image.

    `matrix` maps them to pixels of `aligned`, the face cut out, BGR at 8 bit; `crop` leads from there to EG3D's crop.
    `problem` says why a face is not restored: its landmarks lie outside of the image, or cannot be those of a face, in which case
    `aligned` shows the surroundings of the box. `keep` says why a face that could be restored stays as it is. `tones` are the
    colours of a face that has none of its own: a grey face, a sepia one.
    """

    box: Float[np.ndarray, '4']
    score: float
    landmarks: Float[np.ndarray, '5 2']
    matrix: Matrix
    aligned: Image
    crop: Float[np.ndarray, '3']
    problem: str | None = None
    keep: str | None = None
    tones: Tones | None = None


def find_faces(photo: Photo, detector: Detector, size: int = 512, selection: Selection | None = None) -> list[Face]:
    """Detect the faces that `selection` (default: `Selection()`) chooses, and cut them out at `size` x `size`, in order of falling score.

    Their `keep` is not set; see `keep_detail`.
    """
    return [cut_out(photo, face, size) for face in detect_faces(photo, detector, selection)]


def detect_faces(photo: Photo, detector: Detector, selection: Selection | None = None) -> list[DetectedFace]:
    """Return the faces of a photograph that `selection` (default: `Selection()`) chooses, in order of falling score."""
    selection = selection or Selection()
    height, width = photo.image.shape[:2]
    detected = detect_in_any_rotation(to_eight_bit(photo.image), detector, selection.threshold, selection.any_turn)
    return selection.of(detected, width, height)


def cut_out(photo: Photo, face: DetectedFace, size: int) -> Face:
    """Cut out a detected face at `size` x `size`, aligned by its landmarks, and return it; its `keep` is not set.

    Its `problem` is set where the landmarks cannot be those of a face, and the surroundings of its box are then cut out upright. It is
    also set where the mean of the landmarks lies outside of the image.
    """
    problem = None
    try:
        matrix = face_matrix(face.landmarks, size)
        crop = crop_to_eg3d(apply_affine(face.landmarks, matrix) / size)
        if not _is_inside(face.landmarks.mean(axis=0), photo.image):
            problem = 'the face lies outside of the image'
    except (FRExError, ValueError) as error:
        matrix, crop, problem = box_matrix(face.box, size), np.array(MEAN_CROP), str(error)
    aligned = to_eight_bit(cut_face(photo.image, matrix, size))
    tones = None if problem else find_tones(photo.image, matrix, size)
    return Face(face.box, face.score, face.landmarks, matrix, aligned, crop, problem, tones=tones)


def keep_detail(photo: Photo, face: Face) -> Face:
    """Return the face; its `keep` is set where a result at the size of `aligned` would have less detail than the photo."""
    size = face.aligned.shape[0]
    if face.problem is not None or not has_more_detail(photo.image, face.matrix, size):
        return face
    return replace(face, keep=f'it holds more detail than {size} x {size} pixels, the size of the result; --force restores it')


def _is_inside(point: Float[np.ndarray, '2'], image: Shaped[np.ndarray, 'height width 3']) -> bool:
    return bool((point > 0).all() and (point < (image.shape[1], image.shape[0])).all())


def box_matrix(box: Float[np.ndarray, '4'], size: int) -> Matrix:
    """Return the transform that maps the upright square around a box to `size` x `size` pixels."""
    side = SURROUNDINGS * max(1.0, box[2] - box[0], box[3] - box[1])
    corner = (box[:2] + box[2:] - side) / 2
    return size / side * np.column_stack([np.eye(2), -corner])


def paste_faces(
    photo: Photo,
    upscale: float,
    faces: Sequence[Face],
    restored: Sequence[AnyImage | None],
    masks: Sequence[Float32[np.ndarray, '_ _'] | None] | None = None,
    bg_upsampler: Upsampler | None = None,
) -> Photo:
    """Return a new photo, `upscale` times as wide and as high, with the images `restored` of its `faces` pasted in.

    A face whose image is None, or that has a problem, stays as it is. Where faces overlap, each pixel belongs to the nearest one; a
    face whose image is None keeps its pixels, and one with a problem does not. `masks` are those of `Patch`, one for each face, of the
    size of its image. Raises FRExError as `scale_background` does.
    """
    canvas = scale_background(photo, upscale, bg_upsampler)
    horizontal, vertical = (new / old for new, old in zip(canvas.image.shape[1::-1], photo.image.shape[1::-1], strict=True))
    patches = []
    for face, image, mask in zip(faces, restored, masks or [None] * len(faces), strict=True):
        if face.problem is None:
            # The restored face may be of another size than the one that was cut out.
            size = face.aligned.shape[0] if image is None else image.shape[0]
            matrix = compose_scale(face.matrix, horizontal, vertical) * (size / face.aligned.shape[0])
            patches.append(Patch(to_grey(image) if photo.grey and image is not None else image, matrix, size, mask))
    if any(patch.image is not None for patch in patches):
        paste_patches(canvas.image, patches)
    return canvas


def scale_background(photo: Photo, upscale: float, upsampler: Upsampler | None = None) -> Photo:
    """Return the photo `upscale` times as wide and as high, with an image that shares no memory with that of `photo`.

    Faces can therefore be pasted into it. The image is scaled by `upsampler`, if given, but where it is transparent the colours are
    those of `scale_photo`, which also scales alpha. Raises FRExError where `upsampler` returns an image of another size or type than asked
    for, and as `scale_photo` does.
    """
    larger = scale_photo(photo, upscale)
    if upsampler is None:
        return replace(larger, image=larger.image.copy()) if np.shares_memory(larger.image, photo.image) else larger
    height, width = larger.image.shape[:2]
    image = upsampler(photo.image, (width, height))
    if image.shape != larger.image.shape or image.dtype != photo.image.dtype:
        raise FRExError(f'the upsampler made {image.dtype} {image.shape} where {photo.image.dtype} {larger.image.shape} was asked for')
    if larger.alpha is not None:
        # Where alpha is low the upsampler has mixed in colours that nobody sees.
        opacity = larger.alpha[:, :, None].astype(np.float32) / np.iinfo(larger.alpha.dtype).max
        image = (opacity * image + (1 - opacity) * larger.image).round().astype(image.dtype)
    return replace(larger, image=np.array(to_grey(image) if photo.grey else image))

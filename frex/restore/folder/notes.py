"""Say in notes on an image what its result lacks, and what was done worse than it could be, so that nothing happens in silence."""

from collections.abc import Sequence

import numpy as np

from frex.heads.codes import has_untrained_prior
from frex.restore.detection.align import scale_of
from frex.restore.detection.pyramid import DETECTION_SIZE, may_miss_faces
from frex.restore.faces.photo import Face
from frex.restore.faces.resolution import has_more_detail
from frex.restore.faces.restorer import FaceRestorer
from frex.restore.faces.results import Restoration
from frex.restore.folder.options import RestoreOptions
from frex.restore.image_io.photo_file import Photo

# Width, in pixels of the searched copy, of the smallest faces that detectors find.
LEAST_FOUND = 16
NO_PARSER = 'pasted without a face parser: edges may be visible; get it with: frex weights download parsenet'
UNTRAINED_PRIOR = 'the depth, image_3d and turntable show no head: the 3D prior of this network was never trained'


def list_notes(
    restorer: FaceRestorer, options: RestoreOptions, photo: Photo, faces: Sequence[Face], restorations: Sequence[Restoration]
) -> list[str]:
    """Return the notes on a photograph with its faces and their restorations."""
    notes = note_reduced_search(restorer, photo, faces)
    if any(restoration.image is not None for restoration in restorations):
        notes += [] if options.face_upsample else note_small_results(faces, restorations, options.upscale)
        notes += note_toned_faces(photo, faces)
        notes += [NO_PARSER] if restorer.parts.parser() is None else []
    return notes + note_untrained_prior(restorer, options, restorations)


def note_reduced_search(restorer: FaceRestorer, photo: Photo, faces: Sequence[Face]) -> list[str]:
    """Return a list with one note where the detector searched only a smaller copy of the image; an empty list elsewhere.

    The note gives the width, in pixels of the image, below which faces may have been missed.

    A detector whose `detection_size` is None searches all pixels where it finds no face or a small one. Whether it did is judged here by
    `faces`, from which some that it found may be missing. A detector without a `detection_size`, as a caller may give, gets no note.
    """
    detector, side = restorer.parts.detector(), max(photo.image.shape[:2])
    if not hasattr(detector, 'detection_size'):
        return []
    searched = detector.detection_size or DETECTION_SIZE
    sides = [float((face.box[2:] - face.box[:2]).max()) for face in faces]
    if side <= searched or (detector.detection_size is None and may_miss_faces(photo.image.shape, sides)):
        return []
    least = round(LEAST_FOUND * side / searched)
    return [
        f'searched at a longer side of {searched} pixels, not {side}: faces narrower than about {least} pixels may be missed; '
        f'--detection_size {side} finds them, in more time'
    ]


def note_small_results(faces: Sequence[Face], restorations: Sequence[Restoration], upscale: float) -> list[str]:
    """Return a list with one note where restored faces are enlarged, because they are smaller than those that they replace in the result.

    The list is empty elsewhere.
    """
    sizes = [
        (restoration.image.shape[0], upscale * face.aligned.shape[0] / scale_of(face.matrix))
        for face, restoration in zip(faces, restorations, strict=True)
        if restoration.image is not None
    ]
    larger = [(made, replaced) for made, replaced in sizes if replaced > made]
    if not larger:
        return []
    made, most = larger[0][0], max(replaced for _, replaced in larger)
    which = f'{len(larger)} restored face{"s" * (len(larger) > 1)}'
    return [f'{which} of {made} x {made} pixels enlarged, to {most:.0f} at most: the network makes no larger ones']


def describe_unusable(problems: Sequence[str]) -> str | None:
    """Return why none of the found faces of an image can be restored, given the problem of each; None where none was found."""
    if not problems:
        return None
    return f'found, but cannot be restored: {len(problems)} face{"s" * (len(problems) > 1)}: {problems[0]}'


def note_toned_faces(photo: Photo, faces: Sequence[Face]) -> list[str]:
    """Return a list with one note on how many faces of a photograph in colour have no colours of their own and keep their tone.

    It is empty where all have colours, and for a grey photograph.
    """
    toned = sum(face.tones is not None and face.keep is None for face in faces)
    if photo.grey or not toned:
        return []
    which = 'the face' if toned == len(faces) == 1 else f'{toned} of {len(faces)} faces'
    return [f'no colours in {which}: restored in the tone of the photograph']


def note_untrained_prior(restorer: FaceRestorer, options: RestoreOptions, restorations: Sequence[Restoration]) -> list[str]:
    """Return a list with one note where images of the 3D prior were asked for and made, but its weights are random, as before training.

    The list is empty elsewhere.
    """
    made = options.save_3d and any(restoration.image is not None for restoration in restorations)
    return [UNTRAINED_PRIOR] if made and has_untrained_prior(restorer.net) else []


def list_losses(photo: Photo, size: int) -> list[str]:
    """Return a note for each thing that the restored face, `size` x `size` pixels of 8 bit, does not keep of `photo`, an aligned face."""
    notes = []
    if has_more_detail(photo.image, np.eye(2, 3) * (size / photo.image.shape[0]), size):
        notes.append(f'the input holds more detail than the restored face of {size} x {size} pixels')
    if photo.image.dtype == np.uint16:
        notes.append('16 bit became 8: a restored face has 8')
    if photo.alpha is not None:
        notes.append('alpha is left out of the restored face')
    return notes

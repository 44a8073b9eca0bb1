"""The faces of photographs with what is measured of each, kept in a file so that a scan can go on where it stopped."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct
from tqdm import tqdm

from frex.camera_labels.estimate import estimate
from frex.errors import FRExError
from frex.images import Image
from frex.restore.detection.align import apply_affine
from frex.restore.detection.retinaface import Detector
from frex.restore.detection.selection import Selection
from frex.restore.faces.photo import Face, find_faces
from frex.restore.image_io.photo_file import Photo, read_photo
from frex.testsets.face_quality import MEASURED_SIZE, face_hash, share_inside, sharpness, small_grey
from frex.testsets.wider import WiderFace, matching
from frex.utils.jsonl import decode_lines, encode_line

SCAN = 'scan.jsonl'
# Of what is measured: another number, and faces that were found before are looked at again.
MEASURES = 2


class FoundFace(Struct):
    """`name` is that of its result; `size` is the longer side of its box, `side` that of its aligned square, in pixels of the image.

    `small` is a small grey version, by which near-duplicates are told. `problem` says why it cannot be aligned or has no camera; then
    what follows is not known. `wider` is its annotation.
    """

    name: str
    box: list[float]
    score: float
    landmarks: list[list[float]]
    size: float
    problem: str | None = None
    side: float = 0.0
    inside: float = 0.0
    sharpness: float = 0.0
    hash: str = ''
    mirrored_hash: str = ''
    small: bytes = b''
    camera: list[float] = []
    crop: list[float] = []
    wider: WiderFace | None = None


class FoundPicture(Struct):
    """A photograph: `sha256` of its bytes, `problem` where it cannot be read, `annotated` where WIDER FACE names it."""

    name: str
    sha256: str
    problem: str | None = None
    annotated: bool = False
    faces: list[FoundFace] = []


def scan(
    pictures: Mapping[str, Path],
    annotations: Mapping[str, list[WiderFace]],
    detector: Detector,
    threshold: float,
    path: Path,
    settings: dict[str, Any],
) -> list[FoundPicture]:
    """Look at each image once; what `path` holds of a scan with the same `settings` is not looked at again."""
    known = _begin(path, settings)
    found = []
    with path.open('ab') as journal:
        for name, file in tqdm(pictures.items(), unit='picture', disable=None):
            digest = _digest(file)
            picture = known.get((name, digest))
            if picture is None:
                picture = _look(name, file, digest, annotations.get(name), detector, threshold)
                journal.write(encode_line(picture) + b'\n')
                journal.flush()
            found.append(picture)
    return found


def _begin(path: Path, settings: dict[str, Any]) -> dict[tuple[str, str], FoundPicture]:
    """What is known already; begins the file anew where it is of another scan."""
    header = encode_line({'measures': MEASURES, **settings})
    if path.exists():
        first, *lines = path.read_bytes().split(b'\n')
        if first == header:
            pictures = decode_lines(lines, FoundPicture)
            # What a kill cut off must not run into what follows.
            path.write_bytes(b''.join(line + b'\n' for line in (header, *map(encode_line, pictures))))
            return {(picture.name, picture.sha256): picture for picture in pictures}
    path.write_bytes(header + b'\n')
    return {}


def _digest(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise FRExError(f'{file}: cannot be read ({error.strerror})') from None


def _look(name: str, file: Path, digest: str, faces: list[WiderFace] | None, detector: Detector, threshold: float) -> FoundPicture:
    try:
        picture = read_photo(file)
    except FRExError as error:
        return FoundPicture(name, digest, str(error))
    found = find_faces(picture, detector, MEASURED_SIZE, Selection(threshold))
    measured = [_measured(f'{name}_{number:02d}', face, picture, faces or []) for number, face in enumerate(found)]
    return FoundPicture(name, digest, None, faces is not None, measured)


def _measured(name: str, face: Face, picture: Photo, faces: list[WiderFace]) -> FoundFace:
    size = float((face.box[2:] - face.box[:2]).max())
    found = FoundFace(name, face.box.tolist(), face.score, face.landmarks.tolist(), size, face.problem, wider=matching(face.box, faces))
    if face.problem is not None:
        return found
    try:
        camera, crop = estimate(apply_affine(face.landmarks, face.matrix) / MEASURED_SIZE, 'ffhq')
    except ValueError as error:
        found.problem = str(error)
        return found
    height, width = picture.image.shape[:2]
    found.side = MEASURED_SIZE / float(np.hypot(*face.matrix[:, 0]))
    found.inside = share_inside(face.matrix, MEASURED_SIZE, width, height)
    found.sharpness = sharpness(face.aligned)
    for field, value in duplicate_features(face.aligned).items():
        setattr(found, field, value)
    found.camera, found.crop = camera.tolist(), crop.tolist()
    return found


def duplicate_features(aligned: Image) -> dict[str, Any]:
    """The fields by which near-duplicates are told, of an aligned face of MEASURED_SIZE."""
    mirrored = np.ascontiguousarray(aligned[:, ::-1])
    return {'hash': face_hash(aligned), 'mirrored_hash': face_hash(mirrored), 'small': small_grey(aligned)}

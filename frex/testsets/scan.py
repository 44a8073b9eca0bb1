"""Detect and measure the faces of photographs; the results are kept in a file, so that a scan can be continued."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct
from tqdm import tqdm

from frex.camera_labels.estimate import estimate_camera
from frex.errors import FRExError
from frex.images import Image
from frex.restore.detection.align import apply_affine
from frex.restore.detection.detector import Detector
from frex.restore.detection.selection import Selection
from frex.restore.faces.photo import Face, find_faces
from frex.restore.image_io.photo_file import Photo, read_photo
from frex.testsets.face_quality import MEASURED_SIZE, hash_face, measure_fraction_inside, measure_sharpness, shrink_to_grey
from frex.testsets.wider import WiderFace, match_annotation
from frex.utils.files import read_regular, write_bytes
from frex.utils.jsonl import decode_lines, encode_line

SCAN = 'scan.jsonl'
# The version of the measurements: raise it so that existing scans are made again.
MEASURES_VERSION = 2


class FoundFace(Struct):
    """A detected face and its measurements.

    `name` is the name of its result. `box` (left, top, right, bottom), the five `landmarks` (x, y), `size`, the longer side of the box, and
    `side`, the width of the aligned square, are in pixels of the photograph. `inside` is the fraction of the aligned square that lies in
    the photograph. `hash`, `mirrored_hash` (of the mirror image) and `small`, a grey version, serve to find near-duplicates. `camera` (25
    numbers) and `crop` (3) are estimated from the landmarks.

    `problem` says why the face cannot be aligned or has no camera; the fields from `side` to `crop` are not set then. It is None where the
    face can be used. `wider` is the face's annotation, None without one.
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


class ScannedImage(Struct):
    """A photograph with its faces: `sha256` of its file, `problem` where it cannot be read, `annotated` whether WIDER FACE names it."""

    name: str
    sha256: str
    problem: str | None = None
    annotated: bool = False
    faces: list[FoundFace] = []


def scan_photographs(
    sources: Mapping[str, Path],
    annotations: Mapping[str, list[WiderFace]],
    detector: Detector,
    threshold: float,
    path: Path,
    settings: dict[str, Any],
) -> list[ScannedImage]:
    """Detect and measure the faces of all photographs; reuse the results in the file `path` from a scan with the same `settings`.

    `sources` are the photographs by name, `annotations` WIDER FACE's faces of those that it names. `threshold` is the least score of a
    face. The results of each photograph are added to the file `path` at once; its folder must exist. Raises FRExError where a file cannot
    be read from the disk. A file that is no image, or a damaged one, gets a `problem` instead.
    """
    known = _open_scan(path, settings)
    found = []
    with path.open('ab') as journal:
        for name, file in tqdm(sources.items(), unit='image', disable=None):
            digest = _hash_file(file)
            scanned = known.get((name, digest))
            if scanned is None:
                scanned = _scan_image(name, file, digest, annotations.get(name), detector, threshold)
                journal.write(encode_line(scanned) + b'\n')
                journal.flush()
            found.append(scanned)
    return found


def _open_scan(path: Path, settings: dict[str, Any]) -> dict[tuple[str, str], ScannedImage]:
    """Return the results in the scan file `path`, by the photograph's name and the SHA-256 of its file; drop damaged lines of the file.

    Where the file is missing, or was begun with other `settings` or another MEASURES_VERSION, write a new, empty one and return no results.
    """
    header = encode_line({'measures': MEASURES_VERSION, **settings})
    if path.exists():
        first, *lines = read_regular(path).split(b'\n')
        if first == header:
            scanned_images = decode_lines(lines, ScannedImage)
            # Rewrite the file without damaged lines: the next line must not run into one that was cut off.
            write_bytes(path, b''.join(line + b'\n' for line in (header, *map(encode_line, scanned_images))))
            return {(scanned.name, scanned.sha256): scanned for scanned in scanned_images}
    path.write_bytes(header + b'\n')
    return {}


def _hash_file(file: Path) -> str:
    """Return the SHA-256 of a file; raise FRExError where it cannot be read."""
    try:
        return hashlib.sha256(read_regular(file)).hexdigest()
    except OSError as error:
        raise FRExError(f'{file}: cannot be read ({error.strerror})') from None


def _scan_image(name: str, file: Path, digest: str, faces: list[WiderFace] | None, detector: Detector, threshold: float) -> ScannedImage:
    """Detect and measure the faces of one photograph; `faces` are its annotations, None where WIDER FACE does not name it."""
    try:
        photo = read_photo(file)
    except FRExError as error:
        return ScannedImage(name, digest, str(error))
    found = find_faces(photo, detector, MEASURED_SIZE, Selection(threshold))
    measured = [_measure_face(f'{name}_{number:02d}', face, photo, faces or []) for number, face in enumerate(found)]
    return ScannedImage(name, digest, None, faces is not None, measured)


def _measure_face(name: str, face: Face, photo: Photo, faces: list[WiderFace]) -> FoundFace:
    """Measure one detected face; `name` is that of its result, `faces` are the annotations of its photograph."""
    size = float((face.box[2:] - face.box[:2]).max())
    found = FoundFace(
        name, face.box.tolist(), face.score, face.landmarks.tolist(), size, face.problem, wider=match_annotation(face.box, faces)
    )
    if face.problem is not None:
        return found
    try:
        camera, crop = estimate_camera(apply_affine(face.landmarks, face.matrix) / MEASURED_SIZE, 'ffhq')
    except ValueError as error:
        found.problem = str(error)
        return found
    height, width = photo.image.shape[:2]
    found.side = MEASURED_SIZE / float(np.hypot(*face.matrix[:, 0]))
    found.inside = measure_fraction_inside(face.matrix, MEASURED_SIZE, width, height)
    found.sharpness = measure_sharpness(face.aligned)
    for field, value in compute_duplicate_features(face.aligned).items():
        setattr(found, field, value)
    found.camera, found.crop = camera.tolist(), crop.tolist()
    return found


def compute_duplicate_features(aligned: Image) -> dict[str, Any]:
    """Return the fields of FoundFace by which near-duplicates are found, of an aligned face (BGR, MEASURED_SIZE wide)."""
    mirrored = np.ascontiguousarray(aligned[:, ::-1])
    return {'hash': hash_face(aligned), 'mirrored_hash': hash_face(mirrored), 'small': shrink_to_grey(aligned)}

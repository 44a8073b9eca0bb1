"""What `frex collect-real` writes and says of the faces that it takes."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from frex.data.contact_sheet import contact_sheet
from frex.data.labels import write_labels
from frex.images import Image, read_image, resize, write_image
from frex.restore.files.picture import read_picture, to_eight_bit
from frex.restore.finding.align import align_face
from frex.testsets.found_faces import FoundFace, FoundPicture
from frex.testsets.selecting import Selected
from frex.testsets.set_folder import SHEET, SetFolder
from frex.weights.places import sha256

LABELS = 'dataset.json'
# Of a face in the manifest: known otherwise, or nothing to read.
NOT_TOLD = ('name', 'problem', 'camera', 'crop', 'mirrored_hash', 'small')
SHOWN, TILE = 48, 160


def report(found: Sequence[FoundPicture], selected: Selected) -> None:
    """How many faces were found, and why how many are not taken; pictures that cannot be read by name."""
    for picture in found:
        if picture.problem is not None:
            print(f'left out: {picture.problem}', file=sys.stderr)
    print(f'{sum(len(picture.faces) for picture in found)} faces found in {len(found)} pictures')
    for reason, count in selected.reasons.items():
        if count:
            print(f'not taken: {count} {reason}')


def write_faces(
    folder: SetFolder,
    record: dict[str, Any],
    found: Sequence[FoundPicture],
    selected: Selected,
    pictures: Mapping[str, Path],
    size: int,
) -> None:
    """Cut the faces out at `size` x `size` and write them, their labels, the contact sheet and, last, the manifest."""
    folder.check_pictures([f'{name}.png' for name in selected.faces])
    images: dict[str, Any] = {}
    for picture in found:
        faces = [face for face in picture.faces if face.name in selected.faces]
        if not faces:
            continue
        image = to_eight_bit(read_picture(pictures[picture.name]).image)
        for face in faces:
            path = folder.images / f'{face.name}.png'
            write_image(path, align_face(image, np.array(face.landmarks), size))
            images[f'{face.name}.png'] = _entry(face, picture, pictures[picture.name], path)
    cameras, crops = ({f'{name}.png': getattr(face, what) for name, face in selected.faces.items()} for what in ('camera', 'crop'))
    write_labels(folder.images / LABELS, cameras, crops)
    write_image(folder.root / SHEET, _sheet(folder, selected))
    not_taken = {reason: count for reason, count in selected.reasons.items() if count}
    folder.write(record | {'images': images, 'not_taken': not_taken, 'near_duplicates': selected.twins})


def _entry(face: FoundFace, picture: FoundPicture, source: Path, path: Path) -> dict[str, Any]:
    known = {key: value for key, value in msgspec.to_builtins(face).items() if key not in NOT_TOLD}
    return {'source': str(source), 'source_sha256': picture.sha256, **known, 'sha256': sha256(path)}


def _sheet(folder: SetFolder, selected: Selected) -> Image:
    """From the blurred to the sharp."""
    faces = sorted(selected.faces.values(), key=lambda face: face.sharpness)
    shown = [faces[place] for place in np.linspace(0, len(faces) - 1, min(len(faces), SHOWN)).round().astype(int).tolist()]
    tiles = [resize(read_image(folder.images / f'{face.name}.png'), TILE) for face in shown]
    return contact_sheet(tiles, [f'{face.size:.0f} px, sharp {face.sharpness:.0f}' for face in shown], size=TILE)

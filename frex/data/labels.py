"""Labels of faces, that is, cameras and crops (s, t_x, t_y), in the format of EG3D's `dataset.json`.

Images are matched by name, never by position.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32

from frex.data.sources import read_file
from frex.errors import FRExError
from frex.utils.files import write_atomically
from frex_arch.camera import view_angles

CameraLabel = Float32[np.ndarray, '25']
CropLabel = Float32[np.ndarray, '3']
LAYOUT = "EG3D's dataset.json, {'labels': [[file name, 25 numbers], ...], 'crops': [[file name, 3 numbers], ...]}"
# FREx also writes null instead of the 25 numbers for an image that is known to have no label.


@dataclass(frozen=True)
class Labels:
    """Cameras and crops by image name, which is a path below the images' folder.

    A file name that is unique among all folders is also a key by itself. `crops` (s, t_x, t_y) map each image's frame to EG3D's (see
    `frex_arch.crop`); EG3D's own files have none. `unlabelled` are images that are known to have no label.
    """

    cameras: dict[str, CameraLabel]
    crops: dict[str, CropLabel] = field(default_factory=dict)
    unlabelled: frozenset[str] = frozenset()


def read_labels(path: Path) -> Labels:
    """Read a label file, which may be in a zip (`faces.zip/dataset.json`); raise FRExError where it is missing or not in EG3D's format."""
    try:
        return parse_labels(read_file(path).decode(), path)
    except (OSError, UnicodeDecodeError) as error:
        raise FRExError(f'camera_labels: {path} cannot be read ({error})') from None


def parse_labels(text: str, path: Path) -> Labels:
    """Parse the text of a label file; raise FRExError, which names its `path`, where it is not in EG3D's format."""
    try:
        content = json.loads(text)
        labels, crops = _entries(content['labels']), _vectors(_entries(content.get('crops') or ()))
        unlabelled = {name: np.zeros(0, np.float32) for name, vector in labels.items() if vector is None}
        cameras = _vectors({name: vector for name, vector in labels.items() if vector is not None})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FRExError(f'camera_labels: {path} is not {LAYOUT} ({error!r})') from None
    for vectors, length in ((cameras, 25), (crops, 3)):
        for name, vector in vectors.items():
            if vector.shape != (length,) or not np.isfinite(vector).all():
                raise FRExError(f'camera_labels: {path}: the label of {name} is not {length} finite numbers')
    names = labels.keys() | crops.keys()
    cameras, crops, unlabelled = (_also_by_bare_name(vectors, names) for vectors in (cameras, crops, unlabelled))
    return Labels(cameras, crops, frozenset(unlabelled))


def write_labels(
    path: Path, cameras: Mapping[str, Iterable[float]], crops: Mapping[str, Iterable[float]], unlabelled: Iterable[str] = ()
) -> None:
    """Write a label file, EG3D's `dataset.json`, atomically; an existing one is replaced, and its folder must exist.

    `cameras` (25 numbers) and `crops` (s, t_x, t_y) are by image name. An image in `unlabelled` gets null instead of a camera; it may have
    a crop. Numbers are not checked, and errors of the system are raised as they are.
    """
    labels: dict[str, list[float] | None] = {name: [float(number) for number in camera] for name, camera in cameras.items()}
    labels |= dict.fromkeys(unlabelled)
    content = {
        'labels': [[name, labels[name]] for name in sorted(labels)],
        'crops': [[name, [float(number) for number in crops[name]]] for name in sorted(crops)],
    }
    with write_atomically(path) as part:
        part.write_text(json.dumps(content), encoding='utf-8')


def stack_labels(
    vectors: Mapping[str, Float32[np.ndarray, ' length']], names: Sequence[str], missing: str
) -> Float32[np.ndarray, 'names length']:
    """Return the labels of the images `names`, in their order, as rows of one array.

    An image is looked up by its path or, where its file name is unique in `names`, by that. Raises FRExError, which starts with `missing`,
    where images have no label, and ValueError where `names` is empty.
    """
    bare = {name: bare_name(name) for name in names}
    count = Counter(bare.values())
    found = [vectors.get(name, vectors.get(bare[name]) if count[bare[name]] == 1 else None) for name in names]
    without = [name for name, vector in zip(names, found, strict=True) if vector is None]
    if without:
        raise FRExError(f'{missing} for {len(without)} of {len(names)} images, first {without[0]}')
    return np.stack([vector for vector in found if vector is not None])


def _entries(entries: Any) -> dict[str, Any]:
    """Return the pairs (name, numbers) of a label file by name, with forward slashes."""
    return {_normalize(name): vector for name, vector in entries}


def _normalize(name: str) -> str:
    """Return a path with forward slashes and without empty parts and dots."""
    slashed = name.replace('\\', '/')
    # Few names need it, and a path object takes ten times as long.
    return slashed if {'', '.'}.isdisjoint(slashed.split('/')) else PurePosixPath(slashed).as_posix()


def bare_name(name: str) -> str:
    """Return the file name of an image without the folders of its path."""
    return name.rpartition('/')[2]


def _vectors(entries: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.asarray(vector, dtype=np.float32) for name, vector in entries.items()}


def _also_by_bare_name(vectors: dict[str, np.ndarray], names: Iterable[str]) -> dict[str, np.ndarray]:
    """Add each file name that is unique among all folders as a further key of its label; `names` are all images of the label file."""
    count = Counter(map(bare_name, names))
    return {bare: vector for name, vector in vectors.items() if count[bare := bare_name(name)] == 1} | vectors


def view_angles_in_degrees(camera: CameraLabel) -> tuple[float, float, float]:
    """Return yaw, pitch and roll of a camera in degrees; the signs are those of `frex_arch.camera.view_angles`."""
    yaw, pitch, roll = (np.degrees(angle.item()) for angle in view_angles(torch.from_numpy(camera)[None]))
    return yaw, pitch, roll


# The largest entry of |R R^T - I| that the rotation R of a label may have. EG3D's labels, in float32, reach 2e-7; labels rounded to three
# decimals reach 0.002, to two decimals 0.017. Two decimals turn the camera by up to half a degree, so such labels count as damaged.
ROTATION_TOLERANCE = 0.01


def check_rotations(cameras: Float32[np.ndarray, 'image 25'], names: Iterable[str], where: str) -> None:
    """Raise FRExError where the upper left 3 x 3 block of a camera is not a rotation, for example all zeros or a reflection.

    `names` are the images of the cameras, in their order. The message starts with `where` and names the first wrong image.
    """
    rotations = cameras[:, :16].reshape(-1, 4, 4)[:, :3, :3].astype(np.float64)
    errors = np.abs(rotations @ rotations.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2))
    is_rotation = (errors <= ROTATION_TOLERANCE) & (np.linalg.det(rotations) > 0)
    wrong = [name for name, is_valid in zip(names, is_rotation, strict=True) if not is_valid]
    if wrong:
        raise FRExError(f'{where}: the camera of {wrong[0]} is not a rotation ({len(wrong)} such); correct or remove it')


def drop_bare_names(vectors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return labels without the keys that `read_labels` adds, so that each label is there once, by the name in its file.

    `vectors` must hold the very arrays that `read_labels` returned: an added key is recognized by the identity of its array.
    """
    in_folders = {id(vector) for name, vector in vectors.items() if '/' in name}
    return {name: vector for name, vector in vectors.items() if '/' in name or id(vector) not in in_folders}


def match_labels(vectors: Mapping[str, np.ndarray], names: Iterable[str]) -> dict[str, np.ndarray]:
    """Return the labels of the images `names`, by these names and looked up as in `stack_labels`; images without one are left out."""
    bare = {name: bare_name(name) for name in names}
    count = Counter(bare.values())
    keys = {name: name if name in vectors or count[bare[name]] > 1 else bare[name] for name in bare}
    return {name: vectors[key] for name, key in keys.items() if key in vectors}


def labels_to_lists(vectors: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    """Return labels as lists of numbers, which `write_labels` takes."""
    return {name: vector.tolist() for name, vector in vectors.items()}

"""Pictures of a folder and labels by their names."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from frex.data.sources import FolderSource
from frex.errors import FRExError
from frex.images import Image, read_image

SHOWN = 3


def pictures_below(folder: Path) -> dict[str, Path]:
    """The pictures that a data set finds in `folder`, by name as labels have it; raises FRExError where there is none."""
    return {name: folder / name for name in FolderSource(folder, 'FOLDER').names}


def read_aligned(path: Path) -> Image:
    """A picture of one aligned face; raises FRExError where it cannot be read or is not square, so none."""
    image = read_image(path)
    if image.shape[0] != image.shape[1]:
        raise FRExError(f'{path}: {image.shape[1]} x {image.shape[0]} is not square: not an aligned face')
    return image


def own_names(vectors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Labels by the names that their file has, without those that `read_labels` adds."""
    in_folders = {id(vector) for name, vector in vectors.items() if '/' in name}
    return {name: vector for name, vector in vectors.items() if '/' in name or id(vector) not in in_folders}


def match(vectors: Mapping[str, np.ndarray], names: Iterable[str]) -> dict[str, np.ndarray]:
    """Labels of those that have one, by the names in full or, where that stands in one folder only, without folders."""
    bare = {name: PurePosixPath(name).name for name in names}
    count = Counter(bare.values())
    keys = {name: name if name in vectors or count[bare[name]] > 1 else bare[name] for name in bare}
    return {name: vectors[key] for name, key in keys.items() if key in vectors}


def as_lists(vectors: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    """As `write_labels` takes them."""
    return {name: vector.tolist() for name, vector in vectors.items()}


def first_of(names: Sequence[str]) -> str:
    """Some names for a line of text."""
    return ', '.join(names[:SHOWN]) + (', ...' if len(names) > SHOWN else '')


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raise FRExError where a result would replace what is there, unasked, or where its folder is missing."""
    if path.exists() and not overwrite:
        raise FRExError(f'{path}: is there already; --overwrite replaces it')
    if not path.parent.is_dir():
        raise FRExError(f'{path}: no folder {path.parent}')

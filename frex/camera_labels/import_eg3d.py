"""`frex cameras import`: EG3D's own labels and crops as one file of FREx, under the names of the images.

EG3D has two files of labels for FFHQ. The one that its script downloads names the images, `00000.png`, and their mirror images,
`00000_mirror.png`. The one in its finished zip counts the sorted folder through, mirror images included: `00000/img00000002.png` is
the second image, `00000/img00000003.png` its mirror image.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from jaxtyping import Bool

from frex.camera_labels.cropping_params import read_cropping_params
from frex.data.labels import CameraLabel, CropLabel, as_lists, check_rotations, match, own_names, read_labels, write_labels
from frex.data.sources import pictures_below
from frex.errors import FRExError
from frex.utils.files import refuse_existing
from frex.utils.text import first_of
from frex_arch.camera import flip_camera
from frex_arch.crop import flip_crop

# EG3D doubles its data set before training.
MIRRORED = '_mirror'
COUNTED = re.compile(r'(?:\d{5}/)?img(\d{8})\.\w+')
# By how much a label may miss the mirrored one of its image; labels are rounded.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class ImportOptions:
    """EG3D's labels `dataset_json` and `cropping_params`, the folder `images` whose names they get, and the file to write."""

    dataset_json: Path
    output: Path
    cropping_params: Path | None = None
    images: Path | None = None
    overwrite: bool = False


def import_labels(options: ImportOptions) -> int:
    """Write `options.output` from EG3D's files; print which images have no label, and which labels no image."""
    refuse_existing(options.output, options.overwrite)
    labels = read_labels(options.dataset_json)
    cameras, crops = own_names(labels.cameras), own_names(labels.crops)
    if not cameras:
        raise FRExError(f'{options.dataset_json}: has no labels')
    check_rotations(np.stack(list(cameras.values())), cameras, str(options.dataset_json))
    params = {} if options.cropping_params is None else read_cropping_params(options.cropping_params)
    images = [] if options.images is None else list(pictures_below(options.images))
    # Those of the crops are all that EG3D counted.
    source = options.cropping_params if params else options.images
    known = labels.cameras
    if not is_counted(cameras) or match(cameras, images):
        print(f'{options.dataset_json}: {len(cameras)} labels by the names of images ({first_of(list(cameras))})')
    elif source is not None and (params or images):
        cameras = known = name_counted(cameras, list(params) or images, options.dataset_json, source)
    else:
        print(f'{options.dataset_json}: counts {len(cameras)} labels through; --images gives them the names of the images')
    _report_mirrors(cameras)
    if options.cropping_params is not None and params:
        crops |= crops_for(list(cameras), params, options.cropping_params)
    unlabelled = []
    if options.images is not None and images:
        unlabelled = _report_names(cameras, match(known, images), images, options.images)
    write_labels(options.output, as_lists(cameras), as_lists(crops), unlabelled)
    print(f'{options.output}: {len(cameras)} cameras, {len(crops)} crops')
    return 0


def is_counted(names: Mapping[str, CameraLabel]) -> bool:
    """Whether the names count the images of a folder through, as those in EG3D's zip do."""
    numbers = [COUNTED.fullmatch(name) for name in names]
    return sorted(int(number[1]) for number in numbers if number) == list(range(len(names)))


def name_counted(cameras: Mapping[str, CameraLabel], names: Sequence[str], path: Path, source: Path) -> dict[str, CameraLabel]:
    """Give counted labels the names of the images that were counted, and of their mirror images.

    `names` are all images that EG3D counted, in any order, with or without mirror images. Raises FRExError, which names the file of
    labels and the `source` of the names, where the numbers differ or the labels do not come in pairs.
    """
    counted = f'{path}: counts {len(cameras)} labels through'
    ordered = np.stack([cameras[name] for name in sorted(cameras, key=lambda name: PurePosixPath(name).name)])
    # As EG3D sorts them.
    names = sorted(names, key=lambda name: PurePosixPath(name).parts)
    in_pairs = len(ordered) % 2 == 0 and _mirror(ordered[::2], ordered[1::2]).all()
    if len(ordered) == 2 * len(names):
        if not in_pairs:
            raise FRExError(f'{counted}, but they are not in pairs of an image and its mirror image; {source} has {len(names)} images')
        names = [each for name in names for each in (name, _mirrored(name))]
    elif len(ordered) != len(names):
        pairs = f', so {len(ordered) // 2} images and their mirror images' if in_pairs else ''
        hint = '; --cropping_params names the images that EG3D counted' if in_pairs and source.is_dir() else ''
        raise FRExError(f'{counted}{pairs}, but {source} has {len(names)} images{hint}')
    elif in_pairs and names[1::2] != [_mirrored(name) for name in names[::2]]:
        raise FRExError(f'{counted}, each second one of a mirror image, but {names[1]} in {source} is not called {_mirrored(names[0])}')
    print(f'{counted}: {first_of(sorted(cameras))} are {first_of(names)} of {source}')
    return dict(zip(names, ordered, strict=True))


def _mirror(cameras: np.ndarray, others: np.ndarray) -> Bool[np.ndarray, ' pairs']:
    """Whether each of `others` is the camera of the mirror image."""
    flipped = flip_camera(torch.from_numpy(cameras)).numpy()
    return np.abs(flipped - others).max(axis=1) < TOLERANCE


def _report_mirrors(cameras: Mapping[str, CameraLabel]) -> None:
    """Print which mirror images have another label than the mirrored one of their image."""
    pairs = [(name, _mirrored(name)) for name in cameras if _mirrored(name) in cameras]
    if pairs:
        originals, mirrored = (np.stack([cameras[pair[side]] for pair in pairs]) for side in (0, 1))
        wrong = [pair[1] for pair, fits in zip(pairs, _mirror(originals, mirrored), strict=True) if not fits]
        if wrong:
            print(f'labels of mirror images that are not the mirrored ones: {len(wrong)} ({first_of(wrong)})')


def _mirrored(name: str) -> str:
    path = PurePosixPath(name)
    return str(path.with_stem(path.stem + MIRRORED))


def crops_for(names: list[str], crops: dict[str, CropLabel], path: Path) -> dict[str, CropLabel]:
    """Crops of the images called `names`, mirrored ones too; raises FRExError where no name fits."""
    found = match(crops, names)
    originals = {_unmirrored(name): name for name in names if name not in found}
    found |= {originals[original]: _flipped(crop) for original, crop in match(crops, originals).items()}
    without = [name for name in names if name not in found]
    if not found:
        raise FRExError(f'{path}: no name of it is in the labels ({first_of(list(crops))} against {first_of(names)})')
    if without:
        print(f'labels without a crop: {len(without)} ({first_of(without)})')
    return found


def _unmirrored(name: str) -> str:
    path = PurePosixPath(name)
    return str(path.with_stem(path.stem.removesuffix(MIRRORED)))


def _flipped(crop: CropLabel) -> CropLabel:
    return flip_crop(torch.from_numpy(crop)[None])[0].numpy()


def _report_names(
    cameras: Mapping[str, CameraLabel], labelled: Mapping[str, CameraLabel], images: Sequence[str], folder: Path
) -> list[str]:
    """Print how labels and images fit, of which those in `labelled` have one.

    The answer is the images without a label. Raises FRExError where none has one.
    """
    if not labelled:
        raise FRExError(f'{folder}: none of its images has a label ({first_of(images)} against {first_of(list(cameras))})')
    used = {id(camera) for camera in labelled.values()}
    unlabelled = [name for name in images if name not in labelled]
    # Nobody needs to be told of the label of a mirror image, if the image is there.
    missing = [name for name in cameras if not {id(cameras[name]), id(cameras.get(_unmirrored(name)))} & used]
    print(f'images with a label: {len(labelled)} of {len(images)}')
    if unlabelled:
        print(f'images without a label: {len(unlabelled)} ({first_of(unlabelled)}); training leaves them out of the camera loss')
    if missing:
        print(f'labels without an image: {len(missing)} ({first_of(missing)})')
    return unlabelled

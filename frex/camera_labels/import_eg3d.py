"""`frex cameras import`: write EG3D's own labels and crops as one label file of FREx, under the names of the images.

EG3D has two label files for FFHQ. The one that its script downloads names the images, `00000.png`, and their mirror images,
`00000_mirror.png`. The one in its finished zip numbers the sorted files, mirror images included: `00000/img00000002.png` is the second
image, `00000/img00000003.png` its mirror image.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from jaxtyping import Bool

from frex.camera_labels.cropping_params import read_cropping_params
from frex.data.labels import (
    CameraLabel,
    CropLabel,
    check_rotations,
    drop_bare_names,
    labels_to_lists,
    match_labels,
    read_labels,
    write_labels,
)
from frex.data.sources import find_images
from frex.errors import FRExError
from frex.utils.files import check_output_path
from frex.utils.text import abbreviate
from frex_arch.camera import mirror_camera
from frex_arch.crop import mirror_crop

# EG3D doubles its data set with mirror images before training; their names end like this.
MIRROR_SUFFIX = '_mirror'
# A name that only counts the images, as in EG3D's zip.
COUNTED = re.compile(r'(?:\d{5}/)?img(\d{8})\.\w+')
# The largest difference between a number of a mirrored label and that of the mirror image's; labels may be rounded to three decimals.
MIRROR_TOLERANCE = 1e-3


@dataclass(frozen=True)
class ImportOptions:
    """EG3D's files `dataset_json` and, optionally, `cropping_params`; the label file `output` to write.

    Labels that are only numbered get the names in `cropping_params`, else those of the images in the folder `images`; without both they
    keep their numbers. An existing `output` is replaced with `overwrite` only.
    """

    dataset_json: Path
    output: Path
    cropping_params: Path | None = None
    images: Path | None = None
    overwrite: bool = False


def import_labels(options: ImportOptions) -> int:
    """Convert EG3D's `dataset.json` to the label file `options.output`, with crops from its `cropping_params.json`; return 0.

    Labels that only number the images get the names of the images, as in `ImportOptions`. Images in `options.images` without a label are
    printed and written as having none; labels without an image are printed and written. Raises FRExError where the output may not be
    written, a file is missing or invalid, numbered labels cannot be assigned to the images, no image has a label, or no label a crop.
    """
    check_output_path(options.output, options.overwrite)
    labels = read_labels(options.dataset_json)
    cameras, crops = drop_bare_names(labels.cameras), drop_bare_names(labels.crops)
    if not cameras:
        raise FRExError(f'{options.dataset_json}: has no labels')
    check_rotations(np.stack(list(cameras.values())), cameras, str(options.dataset_json))
    params = {} if options.cropping_params is None else read_cropping_params(options.cropping_params)
    images = [] if options.images is None else list(find_images(options.images, '--images'))
    # The names of the crops are all images that EG3D numbered.
    source = options.cropping_params if params else options.images
    known = labels.cameras
    if not has_counted_names(cameras) or match_labels(cameras, images):
        print(f'{options.dataset_json}: {len(cameras)} labels by the names of images ({abbreviate(list(cameras))})')
    elif source is not None and (params or images):
        cameras = known = rename_counted(cameras, list(params) or images, options.dataset_json, source)
    else:
        print(f'{options.dataset_json}: numbers its {len(cameras)} labels; --images gives them the names of the images')
    _print_wrong_mirrors(cameras)
    if options.cropping_params is not None and params:
        crops |= select_crops(list(cameras), params, options.cropping_params)
    unlabelled = []
    if options.images is not None and images:
        unlabelled = _print_unmatched(cameras, match_labels(known, images), images, options.images)
    write_labels(options.output, labels_to_lists(cameras), labels_to_lists(crops), unlabelled)
    print(f'{options.output}: {len(cameras)} cameras, {len(crops)} crops')
    return 0


def has_counted_names(names: Mapping[str, CameraLabel]) -> bool:
    """Return whether the names only count the images from 0, as those in EG3D's zip do."""
    numbers = [COUNTED.fullmatch(name) for name in names]
    return sorted(int(number[1]) for number in numbers if number) == list(range(len(names)))


def rename_counted(cameras: Mapping[str, CameraLabel], names: Sequence[str], path: Path, source: Path) -> dict[str, CameraLabel]:
    """Return labels whose names only count, under the names of the images and mirror images that were counted.

    `names` are all images that EG3D counted, in any order, with or without mirror images; `path` is the label file and `source` that of the
    names, for messages. Raises FRExError where the counts differ or the labels are not pairs of an image and its mirror image.
    """
    counted = f'{path}: numbers its {len(cameras)} labels'
    ordered = np.stack([cameras[name] for name in sorted(cameras, key=lambda name: PurePosixPath(name).name)])
    # EG3D sorts paths by their parts.
    names = sorted(names, key=lambda name: PurePosixPath(name).parts)
    in_pairs = len(ordered) % 2 == 0 and _are_mirrored(ordered[::2], ordered[1::2]).all()
    if len(ordered) == 2 * len(names):
        if not in_pairs:
            raise FRExError(f'{counted}, but they are not in pairs of an image and its mirror image; {source} has {len(names)} images')
        names = [both for name in names for both in (name, _mirrored_name(name))]
    elif len(ordered) != len(names):
        pairs = f', so {len(ordered) // 2} images and their mirror images' if in_pairs else ''
        hint = '; --cropping_params names the images that EG3D counted' if in_pairs and source.is_dir() else ''
        raise FRExError(f'{counted}{pairs}, but {source} has {len(names)} images{hint}')
    elif in_pairs:
        for name, mirrored in zip(names[::2], names[1::2], strict=True):
            if mirrored != _mirrored_name(name):
                raise FRExError(
                    f'{counted}, each second one of a mirror image, but {mirrored} in {source} is not called {_mirrored_name(name)}'
                )
    print(f'{counted}: {abbreviate(sorted(cameras))} are {abbreviate(names)} of {source}')
    return dict(zip(names, ordered, strict=True))


def _are_mirrored(cameras: np.ndarray, others: np.ndarray) -> Bool[np.ndarray, ' pairs']:
    """Return for each pair whether the camera in `others` is the mirrored one of that in `cameras`; both are (pairs, 25).

    All 25 numbers must agree within MIRROR_TOLERANCE.
    """
    flipped = mirror_camera(torch.from_numpy(cameras)).numpy()
    return np.abs(flipped - others).max(axis=1) < MIRROR_TOLERANCE


def _print_wrong_mirrors(cameras: Mapping[str, CameraLabel]) -> None:
    """Print which mirror images have a label that is not the mirrored label of their image."""
    pairs = [(name, _mirrored_name(name)) for name in cameras if _mirrored_name(name) in cameras]
    if pairs:
        originals, mirrored = (np.stack([cameras[pair[side]] for pair in pairs]) for side in (0, 1))
        wrong = [pair[1] for pair, fits in zip(pairs, _are_mirrored(originals, mirrored), strict=True) if not fits]
        if wrong:
            print(f'labels of mirror images that are not the mirrored ones: {len(wrong)} ({abbreviate(wrong)})')


def _mirrored_name(name: str) -> str:
    """Return the name of the mirror image of `name`."""
    path = PurePosixPath(name)
    return str(path.with_stem(path.stem + MIRROR_SUFFIX))


def select_crops(names: list[str], crops: dict[str, CropLabel], path: Path) -> dict[str, CropLabel]:
    """Return the crops of the images `names`; a mirror image without an own crop gets the mirrored one of its image.

    `path` is the file of the crops, for messages. Prints which images have none, and raises FRExError where no image has one.
    """
    found = match_labels(crops, names)
    originals = {_original_name(name): name for name in names if name not in found}
    found |= {originals[original]: _flip_crop_label(crop) for original, crop in match_labels(crops, originals).items()}
    without = [name for name in names if name not in found]
    if not found:
        raise FRExError(f'{path}: no name of it is in the labels ({abbreviate(list(crops))} against {abbreviate(names)})')
    if without:
        print(f'labels without a crop: {len(without)} ({abbreviate(without)})')
    return found


def _original_name(name: str) -> str:
    """Return the name of the image whose mirror image is `name`; `name` itself where it is none."""
    path = PurePosixPath(name)
    return str(path.with_stem(path.stem.removesuffix(MIRROR_SUFFIX)))


def _flip_crop_label(crop: CropLabel) -> CropLabel:
    """Return the crop between the two mirrored images."""
    return mirror_crop(torch.from_numpy(crop)[None])[0].numpy()


def _print_unmatched(
    cameras: Mapping[str, CameraLabel], labelled: Mapping[str, CameraLabel], images: Sequence[str], folder: Path
) -> list[str]:
    """Print how many images in `folder` have a label, which have none, and which labels have no image; return the images without one.

    `cameras` are all labels, `labelled` those of the images that have one. Raises FRExError where none has.
    """
    if not labelled:
        raise FRExError(f'{folder}: none of its images has a label ({abbreviate(images)} against {abbreviate(list(cameras))})')
    used = {id(camera) for camera in labelled.values()}
    unlabelled = [name for name in images if name not in labelled]
    # The label of a mirror image is not reported where the image itself exists.
    missing = [name for name in cameras if not {id(cameras[name]), id(cameras.get(_original_name(name)))} & used]
    print(f'images with a label: {len(labelled)} of {len(images)}')
    if unlabelled:
        print(f'images without a label: {len(unlabelled)} ({abbreviate(unlabelled)}); training leaves them out of the camera loss')
    if missing:
        print(f'labels without an image: {len(missing)} ({abbreviate(missing)})')
    return unlabelled

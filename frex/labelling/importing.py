"""`frex cameras import`: EG3D's own labels and crops as one file of FREx."""

from argparse import Namespace
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from frex.data.cropping_params import read_cropping_params
from frex.data.labels import CameraLabel, CropLabel, read_labels, write_labels
from frex.errors import FRExError
from frex.labelling.pictures import as_lists, first_of, match, own_names, pictures_below, refuse_existing
from frex_arch.crop import flip_crop

# EG3D doubles its data set before training.
MIRRORED = '_mirror'


def import_labels(args: Namespace) -> int:
    """Write `args.output` from EG3D's files; says which pictures have no label, and which labels no picture."""
    refuse_existing(args.output, args.overwrite)
    labels = read_labels(args.dataset_json)
    cameras, crops = own_names(labels.cameras), own_names(labels.crops)
    check_cameras(cameras, args.dataset_json)
    if args.cropping_params is not None:
        crops |= crops_for(list(cameras), read_cropping_params(args.cropping_params), args.cropping_params)
    if args.images is not None:
        _report_names(labels.cameras, args.images)
    write_labels(args.output, as_lists(cameras), as_lists(crops))
    print(f'{args.output}: {len(cameras)} cameras, {len(crops)} crops')
    return 0


def check_cameras(cameras: dict[str, CameraLabel], path: Path) -> None:
    """Raise FRExError where there is none, or where the rotation of one is no rotation."""
    if not cameras:
        raise FRExError(f'{path}: has no labels')
    rotations = np.stack(list(cameras.values()))[:, :16].reshape(-1, 4, 4)[:, :3, :3].astype(np.float64)
    wrong = np.abs(rotations @ rotations.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2)) > 0.01
    wrong |= np.linalg.det(rotations) < 0
    if wrong.any():
        names = [name for name, is_wrong in zip(cameras, wrong, strict=True) if is_wrong]
        raise FRExError(f'{path}: {len(names)} labels are no cameras (their rotation is none): {first_of(names)}')


def crops_for(names: list[str], crops: dict[str, CropLabel], path: Path) -> dict[str, CropLabel]:
    """Crops of the pictures called `names`, mirrored ones too; raises FRExError where no name fits."""
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


def _report_names(cameras: dict[str, CameraLabel], folder: Path) -> None:
    pictures = pictures_below(folder)
    labelled = match(cameras, pictures)
    if not labelled:
        raise FRExError(f'{folder}: none of its pictures has a label ({first_of(list(pictures))} against {first_of(list(cameras))})')
    used = {id(camera) for camera in labelled.values()}
    unlabelled = [name for name in pictures if name not in labelled]
    missing = [name for name, camera in own_names(cameras).items() if id(camera) not in used]
    print(f'pictures with a label: {len(labelled)} of {len(pictures)}')
    for what, names in (('pictures without a label', unlabelled), ('labels without a picture', missing)):
        if names:
            print(f'{what}: {len(names)} ({first_of(names)})')

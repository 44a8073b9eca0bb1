"""Folders of images whose scores are known, and the evaluation of them."""

import math

import cv2
import numpy as np
import torch

from frex.cli.main import main
from frex.data.labels import write_labels
from frex.evaluation import Settings
from frex_arch.camera import ffhq_intrinsics, look_at, pack_camera

SIZE = 24
NAN = math.nan
QUICK = Settings(metrics=('psnr',), num_workers=0, device='cpu')


def write(path, image):
    """Write an image, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)


def clean(number, size=SIZE):
    """Return a random image, the same at each call for one `number`."""
    return np.random.default_rng(number).integers(60, 190, (size, size, 3), dtype=np.uint8)


def off_by(image, step):
    """Return the image with every value increased by `step`, so that the PSNR is 20 log10(255 / step)."""
    return (image + np.uint8(step)).astype(np.uint8)


def decibels(*steps):
    """Return the mean PSNR of images that are off by `steps`."""
    return float(np.mean([20 * math.log10(255 / step) for step in steps]))


def run(folder, *arguments, methods=('A', 'B')):
    """Evaluate the folders `methods` below `folder` against its folder `gt` by the command, and return the exit status."""
    restored = [f'{name}={folder / name}' for name in methods]
    command = ['evaluate', '--restored', *restored, '--gt', folder / 'gt', '--device', 'cpu', '--num_workers', '0', *arguments]
    return main([str(argument) for argument in command])


def write_yaw_labels(folder, yaw):
    """Write `dataset.json` into a folder and return its path; `yaw` is by the names of images, in degrees.

    The cameras look at the origin.
    """
    angles = torch.tensor(list(yaw.values())).deg2rad()
    cameras = pack_camera(look_at(angles, torch.zeros_like(angles), pivot=(0.0, 0.0, 0.0)), ffhq_intrinsics()[None]).tolist()
    write_labels(folder / 'dataset.json', dict(zip(yaw, cameras, strict=True)), {})
    return folder / 'dataset.json'


def rows_of(evaluation):
    """Return the rows of an evaluation by their methods."""
    return {row.name: row for row in evaluation.rows}


def mean(evaluation, name, key='psnr', number=0):
    """Return the mean of a metric of the method `name` over the images of one bin of yaw, its `number`; number 0 are all images."""
    return rows_of(evaluation)[name].summaries[key][number].mean

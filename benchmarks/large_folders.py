"""Measure how time and memory of `frex restore`, `frex evaluate` and the start of a training run grow with the files of a folder.

The files of a subfolder are hard links to one small image. The network is a stand-in, whose results are links as well, so that what is
measured is the handling of files. Each measurement is made in a process of its own.
"""

import json
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import timing
import torch

from frex.data.face_set import FaceSet
from frex.evaluation.inputs import read_inputs
from frex.evaluation.scoring import ComputeOptions, Scorer, score_rows
from frex.images import write_image
from frex.metrics.catalogue import METRICS
from frex.options.data import FaceSetOptions
from frex.restore.folder import restore_folder
from frex.restore.folder.options import RestoreOptions
from frex.restore.folder.planning import Job
from frex.restore.folder.report import FaceRecord, ImageRecord, absolute_name, relative_name
from frex.restore.folder.threaded_pipeline import PipelineStages
from frex_arch.camera import frontal_camera

# Files of a subfolder, as in FFHQ.
FILES_PER_FOLDER = 1000
FACE_FOLDERS = ('cropped_faces', 'cmp', 'restored_faces')
Measured = dict[str, dict[str, Any]]


class LinkStages(PipelineStages[Job, Any, Any, ImageRecord]):
    """Stand-ins for the stages of a run: each image has one face, and its results are links to the input."""

    def __init__(self, restorer: Any, options: RestoreOptions, upsampler: None) -> None:
        self.restorer = restorer

    def bytes_of(self, job: Job) -> float:
        """Return the size of a small image."""
        return 1000.0

    def prepare(self, job: Job) -> Any:
        """Return one face."""
        return SimpleNamespace(job=job, faces=[job])

    def restore(self, faces: Sequence[Any]) -> Sequence[Any]:
        """Return the faces."""
        return faces

    def finish(self, prepared: Any, results: Sequence[Any]) -> ImageRecord:
        """Link all files of the results to the input, and return a record as large as that of a photograph with one face."""
        job = prepared.job
        files = {folder: job.results.face(folder, 0) for folder in FACE_FOLDERS}
        for path in (*files.values(), job.results.image):
            link(job.item.path, path)
        numbers = [[123.45, 234.56]] * 5
        names = {folder: relative_name(path, job.results.folder) for folder, path in files.items()}
        face = FaceRecord(box=numbers[0] * 2, score=0.99, landmarks=numbers, size=222.22, yaw=1.25, pitch=2.5, files=names)
        return ImageRecord(
            input=absolute_name(job.item.path),
            status='restored',
            width=512,
            height=512,
            output=relative_name(job.results.image, job.results.folder),
            seconds=dict.fromkeys(('read', 'detect', 'restore', 'write'), 0.0123456789),
            faces=[face],
        )


def link(source: Path, target: Path) -> None:
    """Link `target` to the file `source`, and create its folder."""
    try:
        os.link(source, target)
    except FileNotFoundError:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(source, target)


def make_folder(folder: Path, count: int) -> Path:
    """Fill `folder` with `count` images of 8 x 8 pixels, in subfolders of 1000 as those of FFHQ, and return it.

    The images of a subfolder are links to one file.
    """
    for number in range(count):
        target = folder / f'{number // FILES_PER_FOLDER:05d}' / f'{number:08d}.png'
        # A file can have a limited number of links.
        if number % FILES_PER_FOLDER == 0:
            write_image(target, cv2.resize(np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8), (8, 8)))
            source = target
        else:
            link(source, target)
    return folder


def measure_folders(counts: Sequence[int], folder: Path) -> dict[str, Measured]:
    """Return seconds and peak bytes by number of files: of a run, of its rerun, of an evaluation, and of the start of a training run."""
    results: dict[str, Measured] = {title: {} for title in WORK}
    for count in counts:
        faces = make_folder(folder / str(count), count)
        for title, work in WORK.items():
            results[title][str(count)] = measure_in_process(work, faces)
            print(title, count, results[title][str(count)], flush=True)
    return results


def measure_in_process(work: Callable[[Path], None], faces: Path) -> dict[str, Any]:
    """Call `work` on a folder in a new process; return the processor's seconds and the peak bytes that it took."""
    with multiprocessing.get_context('spawn').Pool(1) as pool:
        return pool.apply(_measure, (work, faces))


def _measure(work: Callable[[Path], None], faces: Path) -> dict[str, Any]:
    seconds = 0.0

    def call() -> None:
        nonlocal seconds
        # The time of the processor, which other processes of the machine do not change.
        start = time.process_time()
        with open(os.devnull, 'w') as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
            work(faces)
        seconds = time.process_time() - start

    peak = timing.measure_peak_bytes(call, torch.device('cpu'))
    return {'seconds': seconds, 'peak bytes': peak}


def restore(faces: Path) -> None:
    """Restore the folder, or skip what is restored, into the folder `FACES.out`; raise SystemExit where an image fails."""
    restorer = SimpleNamespace(batches=SimpleNamespace(batch_size=8), net=None)
    stand_ins = {
        'load_restorer': lambda *arguments: restorer,
        'load_run_upsampler': lambda *arguments: None,
        'find_model': Path,
        'unsupported_flags': lambda *arguments: (),
        'Photographs': LinkStages,
    }
    with patch.multiple(restore_folder, **stand_ins):
        options = RestoreOptions((str(faces),), recursive=True, output=faces.with_suffix('.out'), model_path=Path('net.pth'))
        if restore_folder.restore_folder(options):
            raise SystemExit('not all images were restored')


def evaluate(faces: Path) -> None:
    """Compare the images that `restore` has written with those of the folder by PSNR."""
    inputs = read_inputs({'FREx': [faces.with_suffix('.out') / 'restored_imgs']}, faces, None, partial=False)
    metrics = [METRICS['psnr']]
    scorer = Scorer(metrics, ComputeOptions(None, torch.device('cpu'), 64, 0), None)
    score_rows(inputs, scorer, metrics, (), 0)


def start_training(faces: Path) -> None:
    """Open the folder as a set of training images with a camera and a crop for each."""
    FaceSet(FaceSetOptions(dataroot_gt=str(faces), camera_labels=str(write_labels(faces))), 'datasets.train')


def write_labels(faces: Path) -> Path:
    """Return a file of labels for the images of a folder; it is written once."""
    path = faces.with_suffix('.json')
    if not path.exists():
        camera = frontal_camera()[0].tolist()
        names = sorted(file.relative_to(faces).as_posix() for file in faces.rglob('*.png'))
        path.write_text(json.dumps({'labels': [[name, camera] for name in names], 'crops': [[name, [1, 0, 0]] for name in names]}))
    return path


WORK = {
    'files: restore a folder': restore,
    'files: restore it again': restore,
    'files: evaluate it': evaluate,
    'files: start to train on it': start_training,
}

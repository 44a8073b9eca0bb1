"""The check, before anything is created, that the images and labels of a run are there and whole; of large training sets by a sample."""

import shlex
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import NamedTuple

from frex.data.face_degradation_dataset import FaceDegradationDataset
from frex.data.sources import Source
from frex.errors import FRExError
from frex.options.data import FaceDegradationOptions, FaceSetOptions
from frex.utils.text import abbreviate

Datasets = Mapping[str, FaceDegradationOptions]
# Images of a training set that are read before training, which takes seconds, and the fraction of them that may be damaged.
SAMPLED = 500
TOLERATED = 0.01


class CheckedPath(NamedTuple):
    """A file or folder that an option names; `problem` is empty where it can be used, else each line of `fix` is a command that helps."""

    option: str
    name: str
    problem: str = ''
    fix: str = ''


def forced(option: str, value: str) -> str:
    """Return the flag that gives an option, e.g. `path.resume_state`, another value."""
    return f'--force_yml {shlex.quote(option.replace(".", ":") + "=" + value)}'


def missing_data(datasets: Datasets) -> list[CheckedPath]:
    """Return the folders of images and the label files of the data sets that do not exist, each with what helps."""
    lines = []
    for name, dataset in datasets.items():
        place, mix = f'datasets.{name}', dataset.mix
        lines += _missing_faces(place, dataset, f'{place}.camera_labels', place if name.startswith('val') else '')
        if mix and _is_synthesized(mix):
            lines += _missing_synthesis(f'{place}.mix', Path(mix.dataroot_gt))
        elif mix:
            lines += _missing_faces(f'{place}.mix', mix, f'{place}.mix', f'{place}.mix')
    return lines


def _missing_faces(place: str, section: FaceSetOptions, labels_option: str, root_option: str) -> list[CheckedPath]:
    """Return what is missing of the data set whose options begin with `place`.

    `labels_option` and `root_option`, where not empty, are options that the user may set to `~` to do without the labels or without
    the data set.
    """
    lines, root, labels = [], section.dataroot_gt, section.camera_labels
    if not _is_there(root):
        lines.append(
            CheckedPath(f'{place}.dataroot_gt', root, 'is not there', _or_without(forced(f'{place}.dataroot_gt', 'FOLDER'), root_option))
        )
    if labels and not _is_there(labels):
        images, output = shlex.quote(root), shlex.quote(labels)
        ways = f'frex cameras import DATASET_JSON --images {images} -o {output}\nor frex cameras estimate {images} -o {output}'
        lines.append(CheckedPath(f'{place}.camera_labels', labels, 'is not there', _or_without(ways, labels_option)))
    return lines


def _missing_synthesis(place: str, root: Path) -> list[CheckedPath]:
    problem = 'is not there' if not _is_there(root) else '' if _is_there(root / 'dataset.json') else 'is not whole, it has no dataset.json'
    command = f'frex synthesize -o {shlex.quote(str(root.parent))} -n 100000'
    return [CheckedPath(place, str(root), problem, _or_without(command, place))] if problem else []


def _is_synthesized(mix: FaceSetOptions) -> bool:
    """Return whether the paths are those that `frex synthesize` writes."""
    root = Path(mix.dataroot_gt)
    return root.name == 'images' and mix.camera_labels == str(root / 'dataset.json')


def _is_there(name: str | Path) -> bool:
    """Return whether a file or folder exists; of one within a zip, whether the zip does."""
    path = Path(name).expanduser()
    return any(each.exists() for each in (path, *(parent for parent in path.parents if parent.suffix.lower() == '.zip')))


def _or_without(command: str, option: str) -> str:
    return command + (f'\nor without: {forced(option, "~")}' if option else '')


def check_data(datasets: Datasets, where: str) -> None:
    """Read the labels and images of data sets, given by their options; raise FRExError, which starts with `where`, for unusable ones.

    Of a training set of more than SAMPLED images at most SAMPLED are read, evenly chosen. A fraction of TOLERATED of these may be damaged:
    they are only printed to stderr, since training replaces them. Of any other set all images are read, and none may be damaged. The
    number of images of `train`, times `dataset_enlarge_ratio`, must be at least `batch_size_per_gpu`.
    """
    for name, options in datasets.items():
        try:
            dataset = FaceDegradationDataset(asdict(options))
            count = len(dataset)
            for faces, part in zip(dataset.sets, ('', '.mix'), strict=False):
                most = SAMPLED if options.phase == 'train' else len(faces)
                check_images(faces.source, f'datasets.{name}{part}.dataroot_gt', most)
        except FRExError as error:
            raise FRExError(f'{where}: {error}') from None
        batch = options.batch_size_per_gpu
        if name == 'train' and count * options.dataset_enlarge_ratio < batch:
            problem = f'{count} images are fewer than batch_size_per_gpu {batch}'
            raise FRExError(f'{where}: datasets.{name}: {problem}; add images or raise dataset_enlarge_ratio')


def check_images(source: Source, where: str, most: int) -> None:
    """Decode images of a data set, evenly chosen where it has more than `most`; raise FRExError where too many of them are damaged.

    Where all are read, none may be damaged. Else a fraction of TOLERATED of those that are read may be, and each damaged one is printed to
    stderr. Messages start with `where`.
    """
    names = source.names[:: -(-len(source.names) // most)]
    with ThreadPoolExecutor() as readers:
        damaged = list(filter(None, readers.map(partial(_describe_damage, source), names)))
    if len(damaged) > (TOLERATED * len(names) if len(names) < len(source.names) else 0):
        raise FRExError(f'{where}: {len(damaged)} of {len(names)} images that were read are damaged: {abbreviate(damaged)}')
    for problem in damaged:
        print(f'{where}: {problem}; another image is taken in its place', file=sys.stderr)


def _describe_damage(source: Source, name: str) -> str | None:
    """Read and decode the image `name` of `source`; return the message of the error, which names the file, or None where it is whole."""
    try:
        source.read_image(name)
    except FRExError as error:
        return str(error)
    return None

"""Degrade single images reproducibly, and write what belongs to a degraded set: journal, record, labels, contact sheet."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from frex.data.contact_sheet import draw_contact_sheet
from frex.data.degradation import DegradationParams, DegradationRanges, degrade, draw_degradation
from frex.data.labels import labels_to_lists, match_labels, read_labels, write_labels
from frex.errors import FRExError
from frex.images import Image, read_aligned, read_image, resize, write_image
from frex.utils.files import sha256
from frex.utils.jsonl import append_line, read_lines
from frex.utils.seeding import make_generator

PURPOSE = 'degrade'


@dataclass(frozen=True)
class DegradationRecipe:
    """How the images of a set are degraded: ranges of the parameters, seed and size.

    `size` is the width of the results in pixels, None for that of each clean image.
    """

    degradation: DegradationRanges
    seed: int
    size: int | None = None

    def draw_params(self, name: str) -> list[DegradationParams]:
        """Draw the parameters of each pass for the image `name`, a path without suffix; they depend on seed and name only."""
        return draw_degradation(self.degradation, make_generator(self.seed, PURPOSE, name))

    def read_gt(self, path: Path) -> Image:
        """Read a clean image, BGR uint8, and resize it to `size`, where that is given.

        Raises FRExError where it is not square or cannot be read.
        """
        image = read_aligned(path)
        return image if self.size is None else resize(image, self.size)

    def degrade_image(self, gt: Image, name: str) -> Image:
        """Return `gt` degraded at its own size, BGR uint8; `name` decides the random parameters."""
        lq = degrade(gt.astype(np.float32) / 255, self.draw_params(name))
        return (lq * 255).round().astype(np.uint8)


@dataclass(frozen=True)
class DegradationTask:
    """The task to degrade one image: its `name`, a path without suffix, its file `source`, and the files `lq` and `gt` to write.

    `gt` is None where the clean image is not resized.
    """

    name: str
    source: Path
    lq: Path
    gt: Path | None

    @property
    def has_files(self) -> bool:
        """Return whether the files to write exist; the journal tells from which clean image they were made."""
        return self.lq.exists() and (self.gt is None or self.gt.exists())


def write_pair(task: DegradationTask, recipe: DegradationRecipe) -> None:
    """Degrade the image of a task and write its files, each atomically; existing ones are replaced.

    Raises FRExError where the image is not square or cannot be read.
    """
    gt = recipe.read_gt(task.source)
    if task.gt is not None:
        write_image(task.gt, gt)
    write_image(task.lq, recipe.degrade_image(gt, task.name))


class WrittenPair(Struct, frozen=True):
    """SHA-256 of a clean image's file, of its degraded image and, where one is written, of its resized copy."""

    name: str
    gt_sha256: str
    sha256: str
    resized_sha256: str | None = None

    @property
    def checksums(self) -> dict[str, Any]:
        """Return the checksums by their keys in the record."""
        resized = {} if self.resized_sha256 is None else {'resized_sha256': self.resized_sha256}
        return {'gt_sha256': self.gt_sha256, 'sha256': self.sha256, **resized}


def run_task(task: DegradationTask, recipe: DegradationRecipe) -> WrittenPair:
    """Degrade the image of a task and write its files as `write_pair` does; return their checksums and that of the clean image's file."""
    # Hash the clean image before it is read: if it is replaced meanwhile, the checksum differs and the task is run again.
    gt_sha256 = sha256(task.source)
    write_pair(task, recipe)
    return msgspec.structs.replace(hash_outputs(task), gt_sha256=gt_sha256)


def hash_outputs(task: DegradationTask) -> WrittenPair:
    """Return the checksums of a task's files, and of its clean image, as they are now."""
    return WrittenPair(task.name, sha256(task.source), sha256(task.lq), None if task.gt is None else sha256(task.gt))


class Journal:
    """The checksums of the pairs written so far, in one JSON Lines file per shard, so that several processes can write at the same time.

    The files lie in `root`; their names begin with `start`, and `shard` names the shard of this process.
    """

    def __init__(self, root: Path, start: str, shard: str) -> None:
        self.root, self.start = root, start
        self.path = root / f'{start}.{shard}.jsonl'

    def add(self, written_pair: WrittenPair) -> WrittenPair:
        """Append the checksums at once, since the process may be killed, and return them."""
        append_line(self.path, written_pair)
        return written_pair

    def read(self) -> set[WrittenPair]:
        """Return the checksums that all shards have written; damaged lines are skipped."""
        return {pair for path in self._files() for pair in read_lines(path, WrittenPair)}

    def remove(self) -> None:
        """Remove the journal's files of all shards; to be called once the record of the complete set holds the checksums."""
        for path in self._files():
            path.unlink(missing_ok=True)

    def _files(self) -> Sequence[Path]:
        return sorted(self.root.glob(f'{self.start}.*.jsonl'))


LABELS = 'dataset.json'
SHOWN, TILE = 24, 160
CAPTION_LENGTH = 22


def make_entry(task: DegradationTask, written_pair: WrittenPair, recipe: DegradationRecipe, folder: Path) -> dict[str, Any]:
    """Return an image's entry of the record: checksums, random parameters, and as `gt` its clean image's path below `folder`."""
    draws = [asdict(params) for params in recipe.draw_params(task.name)]
    return {'gt': task.source.relative_to(folder).as_posix(), **written_pair.checksums, 'draws': draws}


def check_unchanged(before: Mapping[str, Any], now: Mapping[str, Any], images: Path) -> None:
    """Raise FRExError where an image's checksum differs between two records, `before` and `now`, which hold entries by file name."""
    for name in before.keys() & now.keys():
        clean = f'the clean image {now[name]["gt"]}'
        for key, what in (('gt_sha256', clean), ('sha256', 'this image'), ('resized_sha256', f'the copy of {clean}')):
            if key in before[name] and now[name].get(key) != before[name][key]:
                raise FRExError(f'{images / name}: {what} has changed since the set was made; give a new folder')


def copy_labels(folder: Path, tasks: Sequence[DegradationTask], roots: Sequence[Path]) -> None:
    """Copy the labels in `folder/dataset.json`, where it exists, to a `dataset.json` in each of `roots`, under the names of the results.

    An image that it does not name gets no entry, and one that it names as unlabelled is unlabelled there too.
    """
    if not (folder / LABELS).exists():
        return
    labels = read_labels(folder / LABELS)
    new = {task.source.relative_to(folder).as_posix(): f'{task.name}.png' for task in tasks}
    cameras, crops = (
        {new[name]: vector for name, vector in labels_to_lists(match_labels(vectors, new)).items()}
        for vectors in (labels.cameras, labels.crops)
    )
    unlabelled = [new[name] for name in match_labels(dict.fromkeys(labels.unlabelled, np.zeros(0)), new)]
    for root in roots:
        write_labels(root / LABELS, cameras, crops, unlabelled)


def draw_examples(tasks: Sequence[DegradationTask], recipe: DegradationRecipe) -> Image:
    """Return a contact sheet, BGR uint8, of the files of up to SHOWN tasks, picked evenly from `tasks`, which must have been run.

    Beside each clean image with its name stands the degraded image, read from `lq`, with its parameters (see `format_caption`). Raises
    FRExError for a file that cannot be read.
    """
    chosen = np.linspace(0, len(tasks) - 1, min(len(tasks), SHOWN)).round().astype(int)
    shown = [tasks[number] for number in chosen.tolist()]
    tiles = [resize(image, TILE) for task in shown for image in (recipe.read_gt(task.source), read_image(task.lq))]
    captions = [text for task in shown for text in (task.name[-CAPTION_LENGTH:], format_caption(recipe.draw_params(task.name)))]
    return draw_contact_sheet(tiles, captions, size=TILE)


def format_caption(draws: Sequence[DegradationParams]) -> str:
    """Return the parameters of the first pass in short; `+` marks a second pass.

    The letters are m length of the motion blur, b larger standard deviation of the Gaussian blur (both in pixels of 512), r downsampling
    factor, n standard deviation of the noise in grey levels, q JPEG quality.
    """
    first = draws[0]
    steps = {
        'm': first.motion and first.motion[0],
        'b': first.blur and max(first.blur[:2]),
        'r': first.downsample,
        'n': first.noise,
        'q': first.jpeg,
    }
    text = ' '.join(f'{letter}{value:.0f}' for letter, value in steps.items() if value is not None)
    return f'{text or "as it was"}{" +" * (len(draws) - 1)}'

"""Degrade single images reproducibly, and write what a degraded set needs beside its images: journal, record, labels, contact sheet."""

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
from frex.utils.seeding import generator

PURPOSE = 'degrade'


@dataclass(frozen=True)
class DegradationRecipe:
    """How images are degraded; `size` is the size of the results, None for the size of each image."""

    degradation: DegradationRanges
    seed: int
    size: int | None = None

    def draws(self, name: str) -> list[DegradationParams]:
        """Return the random parameters of the image `name`, a path without suffix; they depend on seed and name only."""
        return draw_degradation(self.degradation, generator(self.seed, PURPOSE, name))

    def gt(self, path: Path) -> Image:
        """Read a clean image and resize it to the size of the results.

        Raises FRExError where it is not square or cannot be read.
        """
        image = read_aligned(path)
        return image if self.size is None else resize(image, self.size)

    def lq(self, gt: Image, name: str) -> Image:
        """Return the degraded image of `gt`, BGR uint8."""
        lq = degrade(gt.astype(np.float32) / 255, self.draws(name))
        return (lq * 255).round().astype(np.uint8)


@dataclass(frozen=True)
class Task:
    """One image: its `name`, a path without suffix, the file `source`, and the files `lq` and `gt` to write.

    `gt` is None where the clean image is not resized.
    """

    name: str
    source: Path
    lq: Path
    gt: Path | None

    @property
    def is_there(self) -> bool:
        """Return whether the files exist; the journal tells which clean image they were made of."""
        return self.lq.exists() and (self.gt is None or self.gt.exists())


def write(task: Task, recipe: DegradationRecipe) -> None:
    """Write the files of a task, each atomically."""
    gt = recipe.gt(task.source)
    if task.gt is not None:
        write_image(task.gt, gt)
    write_image(task.lq, recipe.lq(gt, task.name))


class WrittenPair(Struct, frozen=True):
    """SHA-256 of a clean image's file, of its degraded image and, where there is one, of its resized copy."""

    name: str
    gt_sha256: str
    sha256: str
    resized_sha256: str | None = None

    @property
    def sums(self) -> dict[str, Any]:
        """Return the checksums as entries of the record."""
        resized = {} if self.resized_sha256 is None else {'resized_sha256': self.resized_sha256}
        return {'gt_sha256': self.gt_sha256, 'sha256': self.sha256, **resized}


def make(task: Task, recipe: DegradationRecipe) -> WrittenPair:
    """Run a task and return the checksums."""
    # Hash the clean image before it is read: where it is replaced meanwhile, the checksum differs and the task is run again.
    gt_sha256 = sha256(task.source)
    write(task, recipe)
    return msgspec.structs.replace(hash_outputs(task), gt_sha256=gt_sha256)


def hash_outputs(task: Task) -> WrittenPair:
    """Return the checksums of a task's files as they are now."""
    return WrittenPair(task.name, sha256(task.source), sha256(task.lq), None if task.gt is None else sha256(task.gt))


class Journal:
    """Lines of `WrittenPair`, in one file per shard, so that several processes can write; they are removed once the set is complete.

    `start` is the beginning of the files' names, `shard` names the shard of this process.
    """

    def __init__(self, root: Path, start: str, shard: str) -> None:
        self.root, self.start = root, start
        self.path = root / f'{start}.{shard}.jsonl'

    def add(self, made: WrittenPair) -> WrittenPair:
        """Append the checksums at once, since the process may be killed."""
        append_line(self.path, made)
        return made

    def read(self) -> set[WrittenPair]:
        """Return the entries of all shards; damaged lines are skipped."""
        return {made for path in self._files() for made in read_lines(path, WrittenPair)}

    def remove(self) -> None:
        """Remove the files of all shards."""
        for path in self._files():
            path.unlink(missing_ok=True)

    def _files(self) -> Sequence[Path]:
        return sorted(self.root.glob(f'{self.start}.*.jsonl'))


LABELS = 'dataset.json'
SHOWN, TILE = 24, 160
CAPTION_LENGTH = 22


def entry(task: Task, made: WrittenPair, recipe: DegradationRecipe, folder: Path) -> dict[str, Any]:
    """Return an image's entry of the record; `gt` is its clean image's path below `folder`."""
    draws = [asdict(params) for params in recipe.draws(task.name)]
    return {'gt': task.source.relative_to(folder).as_posix(), **made.sums, 'draws': draws}


def check_unchanged(before: Mapping[str, Any], now: Mapping[str, Any], images: Path) -> None:
    """Raise FRExError where an image's checksum in `before` differs from that in `now`; both are entries of records."""
    for name in before.keys() & now.keys():
        clean = f'the clean image {now[name]["gt"]}'
        for key, what in (('gt_sha256', clean), ('sha256', 'this image'), ('resized_sha256', f'the copy of {clean}')):
            if key in before[name] and now[name].get(key) != before[name][key]:
                raise FRExError(f'{images / name}: {what} has changed since the set was made; give a new folder')


def copy_labels(folder: Path, tasks: Sequence[Task], roots: Sequence[Path]) -> None:
    """Write the cameras and crops in `folder`, if there are any, under the names of the results into each of `roots`."""
    if not (folder / LABELS).exists():
        return
    labels = read_labels(folder / LABELS)
    new = {task.source.relative_to(folder).as_posix(): f'{task.name}.png' for task in tasks}
    cameras, crops = (
        {new[name]: vector for name, vector in labels_to_lists(match_labels(vectors, new)).items()}
        for vectors in (labels.cameras, labels.crops)
    )
    for root in roots:
        write_labels(root / LABELS, cameras, crops)


def sheet(tasks: Sequence[Task], recipe: DegradationRecipe) -> Image:
    """Return a contact sheet of evenly chosen pairs: a clean image with its name, a degraded one with its parameters."""
    chosen = np.linspace(0, len(tasks) - 1, min(len(tasks), SHOWN)).round().astype(int)
    shown = [tasks[number] for number in chosen.tolist()]
    tiles = [resize(image, TILE) for task in shown for image in (recipe.gt(task.source), read_image(task.lq))]
    captions = [text for task in shown for text in (task.name[-CAPTION_LENGTH:], caption(recipe.draws(task.name)))]
    return draw_contact_sheet(tiles, captions, size=TILE)


def caption(draws: Sequence[DegradationParams]) -> str:
    """Return the parameters of the first pass in short; `+` marks a second pass.

    The letters are m motion blur, b Gaussian blur, r downsampling factor, n noise, q JPEG quality.
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

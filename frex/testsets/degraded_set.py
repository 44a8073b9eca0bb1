"""A clean image becomes a degraded one on disk; what it looks like follows from (seed, name) alone."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from frex.data.contact_sheet import contact_sheet
from frex.data.degradation import Degradation, DegradationParams, degrade, draw
from frex.data.labels import as_lists, match, read_labels, write_labels
from frex.errors import FRExError
from frex.images import Image, read_aligned, read_image, resize, write_image
from frex.utils.files import sha256
from frex.utils.jsonl import append_line, read_lines
from frex.utils.seeding import generator

PURPOSE = 'degrade'


@dataclass(frozen=True)
class DegradationRecipe:
    """What images are degraded by; `size` is that of the results, None for that of each image."""

    degradation: Degradation
    seed: int
    size: int | None = None

    def draws(self, name: str) -> list[DegradationParams]:
        """Those of the image called `name`, a path without suffix."""
        return draw(self.degradation, generator(self.seed, PURPOSE, name))

    def gt(self, path: Path) -> Image:
        """The clean image at the size of the results; raises FRExError where it is not square or cannot be read."""
        image = read_aligned(path)
        return image if self.size is None else resize(image, self.size)

    def lq(self, gt: Image, name: str) -> Image:
        """The degraded image."""
        lq = degrade(gt.astype(np.float32) / 255, self.draws(name))
        return (lq * 255).round().astype(np.uint8)


@dataclass(frozen=True)
class Task:
    """One image: its name, a path without suffix, the file it is made of, those it becomes; `gt` is None where it stays as it is."""

    name: str
    source: Path
    lq: Path
    gt: Path | None

    @property
    def is_there(self) -> bool:
        """Something is there; of which clean image it was made the journal tells."""
        return self.lq.exists() and (self.gt is None or self.gt.exists())


def write(task: Task, recipe: DegradationRecipe) -> None:
    """Do a task: whole files, or none."""
    gt = recipe.gt(task.source)
    if task.gt is not None:
        write_image(task.gt, gt)
    write_image(task.lq, recipe.lq(gt, task.name))


class WrittenPair(Struct, frozen=True):
    """Sums of a clean image's file, of what was made of it, and of its copy at the size of the results where there is one."""

    name: str
    gt_sha256: str
    sha256: str
    resized_sha256: str | None = None

    @property
    def sums(self) -> dict[str, Any]:
        """As the record has them."""
        resized = {} if self.resized_sha256 is None else {'resized_sha256': self.resized_sha256}
        return {'gt_sha256': self.gt_sha256, 'sha256': self.sha256, **resized}


def make(task: Task, recipe: DegradationRecipe) -> WrittenPair:
    """Do a task."""
    # Before it is read: of one that is replaced meanwhile the sum does not hold, so it will be done again.
    gt_sha256 = sha256(task.source)
    write(task, recipe)
    return msgspec.structs.replace(made_of(task), gt_sha256=gt_sha256)


def made_of(task: Task) -> WrittenPair:
    """As the files are now."""
    return WrittenPair(task.name, sha256(task.source), sha256(task.lq), None if task.gt is None else sha256(task.gt))


class Journal:
    """Lines of `WrittenPair`, in one file for each shard of the work, so that several processes can write.

    They are removed once the set is whole.
    """

    def __init__(self, root: Path, start: str, share: str) -> None:
        self.root, self.start = root, start
        self.path = root / f'{start}.{share}.jsonl'

    def add(self, made: WrittenPair) -> WrittenPair:
        """Write it down at once: a process may be killed."""
        append_line(self.path, made)
        return made

    def read(self) -> set[WrittenPair]:
        """Those of all shares; what is damaged is as if it were not there."""
        return {made for path in self._files() for made in read_lines(path, WrittenPair)}

    def remove(self) -> None:
        """Those of all shares."""
        for path in self._files():
            path.unlink(missing_ok=True)

    def _files(self) -> Sequence[Path]:
        return sorted(self.root.glob(f'{self.start}.*.jsonl'))


LABELS = 'dataset.json'
SHOWN, TILE = 24, 160
LONGEST_CAPTION = 22


def entry(task: Task, made: WrittenPair, recipe: DegradationRecipe, folder: Path) -> dict[str, Any]:
    """An image's part of the record; `gt` is its file below `folder`."""
    draws = [asdict(once) for once in recipe.draws(task.name)]
    return {'gt': task.source.relative_to(folder).as_posix(), **made.sums, 'draws': draws}


def check_unchanged(before: Mapping[str, Any], now: Mapping[str, Any], images: Path) -> None:
    """Raise FRExError where an image is not the one that the record of before tells of."""
    for name in before.keys() & now.keys():
        clean = f'the clean image {now[name]["gt"]}'
        for key, what in (('gt_sha256', clean), ('sha256', 'this image'), ('resized_sha256', f'the copy of {clean}')):
            if key in before[name] and now[name].get(key) != before[name][key]:
                raise FRExError(f'{images / name}: {what} has changed since the set was made; give a new folder')


def copy_labels(folder: Path, tasks: Sequence[Task], roots: Sequence[Path]) -> None:
    """Write the cameras and crops in `folder`, where there are any, for the new names, into each of `roots`."""
    if not (folder / LABELS).exists():
        return
    labels = read_labels(folder / LABELS)
    new = {task.source.relative_to(folder).as_posix(): f'{task.name}.png' for task in tasks}
    cameras, crops = (
        {new[name]: vector for name, vector in as_lists(match(vectors, new)).items()} for vectors in (labels.cameras, labels.crops)
    )
    for root in roots:
        write_labels(root / LABELS, cameras, crops)


def sheet(tasks: Sequence[Task], recipe: DegradationRecipe) -> Image:
    """Pairs of a clean image with its name and the degraded one with its draws, evenly from among all."""
    chosen = np.linspace(0, len(tasks) - 1, min(len(tasks), SHOWN)).round().astype(int)
    shown = [tasks[number] for number in chosen.tolist()]
    pictures = [resize(image, TILE) for task in shown for image in (recipe.gt(task.source), read_image(task.lq))]
    captions = [text for task in shown for text in (task.name[-LONGEST_CAPTION:], caption(recipe.draws(task.name)))]
    return contact_sheet(pictures, captions, size=TILE)


def caption(draws: Sequence[DegradationParams]) -> str:
    """The first pass in short: motion blur, Gaussian blur, factor of size, noise, quality; + where there is a second."""
    first = draws[0]
    steps = {
        'm': first.motion and first.motion[0],
        'b': first.blur and max(first.blur[:2]),
        'r': first.downsample,
        'n': first.noise,
        'q': first.jpeg,
    }
    told = ' '.join(f'{letter}{value:.0f}' for letter, value in steps.items() if value is not None)
    return f'{told or "as it was"}{" +" * (len(draws) - 1)}'

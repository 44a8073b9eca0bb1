"""`frex degrade`: the degradations of Eq. 19 for a folder of aligned faces, the same bytes from the same seed.

images/NAME.png        the degraded images, below the names of the clean ones; with dataset.json where FOLDER has one
gt/NAME.png            the clean ones at the asked size, where one is asked for
degradations.json      settings, versions, and each image's draws and sums
contact_sheet.jpg      some of them, clean and degraded
"""

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm import tqdm

from frex.data.sources import images_below
from frex.data.workers import prepare_process
from frex.errors import FRExError
from frex.images import write_image
from frex.testsets.degraded_set import (
    DegradationRecipe,
    Journal,
    Task,
    WrittenPair,
    check_unchanged,
    copy_labels,
    entry,
    made_of,
    make,
    sheet,
)
from frex.testsets.set_folder import SHEET, SetFolder, check_apart
from frex.testsets.severity import choose_degradation
from frex.utils.seeding import check_seed
from frex.utils.sharding import choose_share

RECORD = 'degradations.json'


def degrade_folder(
    folder: Path,
    out: Path,
    *,
    preset: str = 'paper',
    severity: int | None = None,
    seed: int = 0,
    size: int | None = None,
    num_workers: int = 4,
    shard: str = '0/1',
) -> Path:
    """Degrade the square images in and below `folder`; the answer is the folder of the results, `out/images`.

    What an image becomes follows from `seed` and its name without suffix, below `folder`. What is there already is kept. The
    process that finds the set whole writes record, labels and contact sheet. Raises FRExError for bad settings, for a
    image that cannot be read, and where `out` holds something else.
    """
    check_seed(seed)
    _check_at_least(1, size=size)
    _check_at_least(0, num_workers=num_workers)
    share = choose_share(shard, os.environ)
    check_apart(folder, out, 'FOLDER')
    recipe = DegradationRecipe(choose_degradation(preset, severity), seed, size)
    settings = {'preset': preset, 'severity': severity, 'seed': seed, 'size': size, 'degradation': asdict(recipe.degradation)}
    place = SetFolder(out, RECORD)
    try:
        tasks = _tasks(folder, place, size)
        place.begin_set(settings)
        place.check_pictures([f'{task.name}.png' for task in tasks])
        work = Work(place, folder, recipe, num_workers, Journal(out, f'.{RECORD}', f'{share.index}-of-{share.count}'))
        work.fill(work.missing([tasks[number] for number in share.of(len(tasks))]))
        if left := sum(not task.is_there for task in tasks):
            print(f'part {share.index} of {share.count} is whole; {left} of {len(tasks)} images are still to come from others')
        else:
            work.finish(tasks)
    except OSError as error:
        raise FRExError(f'a file cannot be read or written: {error}') from None
    return place.images


def _check_at_least(least: int, **values: int | None) -> None:
    for name, value in values.items():
        if value is not None and value < least:
            raise FRExError(f'--{name} {value}: at least {least} is needed')


def _tasks(folder: Path, place: SetFolder, size: int | None) -> list[Task]:
    pictures = images_below(folder)
    count = Counter(_stem(file) for file in pictures)
    twice = [file for file in pictures if count[_stem(file)] > 1]
    if twice:
        raise FRExError(f'{folder}: {twice[0]} and {twice[1]} differ in their suffix alone, and would both become {_stem(twice[0])}.png')
    return [_task(_stem(file), path, place, size) for file, path in pictures.items()]


def _task(name: str, path: Path, place: SetFolder, size: int | None) -> Task:
    return Task(name, path, place.images / f'{name}.png', place.root / GT / f'{name}.png' if size is not None else None)


def _stem(file: str) -> str:
    return PurePosixPath(file).with_suffix('').as_posix()


GT = 'gt'


@dataclass(frozen=True)
class Work:
    """What is needed to do a task and to finish the set; `num_workers` is the number of processes, 0 for this one alone."""

    place: SetFolder
    folder: Path
    recipe: DegradationRecipe
    num_workers: int
    journal: Journal

    def missing(self, tasks: Sequence[Task]) -> list[Task]:
        """Those to do: in a set that is not whole also what was made of a clean image that has changed since."""
        if self._images() is not None:
            return [task for task in tasks if not task.is_there]
        made = self.journal.read()
        return [task for task in tasks if not (task.is_there and made_of(task) in made)]

    def fill(self, tasks: Sequence[Task]) -> list[WrittenPair]:
        """Do `tasks`."""
        with ProcessPoolExecutor(max(1, self.num_workers), initializer=prepare_process, initargs=(True,)) as workers:
            do = partial(make, recipe=self.recipe)
            done = workers.map(do, tasks) if self.num_workers and len(tasks) > 1 else map(do, tasks)
            try:
                return [self.journal.add(made) for made in tqdm(done, total=len(tasks), unit='face', disable=None)]
            except BrokenProcessPool:
                raise FRExError(f'--num_workers {self.num_workers}: a process was killed, perhaps for its memory; take fewer') from None

    def finish(self, tasks: Sequence[Task]) -> None:
        """Finish a set that is whole, and say what is there."""
        made = self._made(tasks)
        images = {f'{task.name}.png': entry(task, each, self.recipe, self.folder) for task, each in zip(tasks, made, strict=True)}
        check_unchanged(self._images() or {}, images, self.place.images)
        copy_labels(self.folder, tasks, [self.place.images, *([self.place.root / GT] if self.recipe.size is not None else [])])
        write_image(self.place.root / SHEET, sheet(tasks, self.recipe))
        self.place.write((self.place.record_of_set() or {}) | {'images': images})
        self.journal.remove()
        print(f'{len(tasks)} images in {self.place.images}; look at {self.place.root / SHEET}')

    def _made(self, tasks: Sequence[Task]) -> list[WrittenPair]:
        """The sums of all, once those are made again, also of other shares, whose clean image has changed since."""
        made = [made_of(task) for task in tasks]
        known = set(made) if self._images() is not None else self.journal.read()
        stale = [task for task, each in zip(tasks, made, strict=True) if each not in known]
        again = {each.name: each for each in self.fill(stale)} if stale else {}
        return [again.get(each.name, each) for each in made]

    def _images(self) -> dict[str, Any] | None:
        """What the record tells of the images; None before the set is whole."""
        return (self.place.record_of_set() or {}).get('images')

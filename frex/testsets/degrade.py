"""`frex degrade`: degrade a folder of aligned faces by Eq. 19; the same seed gives the same bytes.

It writes:
images/NAME.png        the degraded images, under the names of the clean ones; with dataset.json where FOLDER has one
gt/NAME.png            the clean images at the requested size, where --size is given
degradations.json      settings, versions, and each image's random parameters and checksums
contact_sheet.jpg      some of the images, clean and degraded
"""

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm import tqdm

from frex.data.degradation import PRESETS, DegradationRanges
from frex.data.sources import find_images
from frex.data.workers import prepare_process
from frex.errors import FRExError, nearest
from frex.images import write_image
from frex.testsets.degraded_set import (
    DegradationRecipe,
    Journal,
    Task,
    WrittenPair,
    check_unchanged,
    copy_labels,
    entry,
    hash_outputs,
    make,
    sheet,
)
from frex.testsets.set_folder import SHEET, SetFolder, check_output_outside
from frex.utils.seeding import check_seed
from frex.utils.sharding import choose_shard

RECORD = 'degradations.json'
# The number of severities of a preset.
LEVELS = 5


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
    """Degrade the square images in and below `folder`; return the folder of the results, `out/images`.

    The degradation of an image depends on `seed` and on its path below `folder`, without suffix, only. Images that exist are kept. The
    process that finds the set complete writes record, labels and contact sheet. Raises FRExError for invalid options, for an image that
    cannot be read or is not square, and where `out` holds something else.
    """
    check_seed(seed)
    _check_at_least(1, size=size)
    _check_at_least(0, num_workers=num_workers)
    own_shard = choose_shard(shard, os.environ)
    check_output_outside(folder, out, 'FOLDER')
    recipe = DegradationRecipe(choose_degradation(preset, severity), seed, size)
    settings = {'preset': preset, 'severity': severity, 'seed': seed, 'size': size, 'degradation': asdict(recipe.degradation)}
    set_folder = SetFolder(out, RECORD)
    try:
        tasks = _tasks(folder, set_folder, size)
        set_folder.begin_set(settings)
        set_folder.check_images([f'{task.name}.png' for task in tasks])
        work = Work(set_folder, folder, recipe, num_workers, Journal(out, f'.{RECORD}', f'{own_shard.index}-of-{own_shard.count}'))
        work.fill(work.missing([tasks[number] for number in own_shard.of(len(tasks))]))
        if left := sum(not task.is_there for task in tasks):
            others = f'{left} of {len(tasks)} images are still missing from other shards'
            print(f'shard {own_shard.index} of {own_shard.count} is complete; {others}')
        else:
            work.finish(tasks)
    except OSError as error:
        raise FRExError(f'a file cannot be read or written: {error}') from None
    return set_folder.images


def _check_at_least(least: int, **values: int | None) -> None:
    """Raise FRExError for an option below `least`; None is accepted."""
    for name, value in values.items():
        if value is not None and value < least:
            raise FRExError(f'--{name} {value}: at least {least} is needed')


def _tasks(folder: Path, set_folder: SetFolder, size: int | None) -> list[Task]:
    """Return one task per image; raise FRExError where two images differ in their suffix only."""
    sources = find_images(folder)
    count = Counter(_stem(file) for file in sources)
    twice = [file for file in sources if count[_stem(file)] > 1]
    if twice:
        raise FRExError(f'{folder}: {twice[0]} and {twice[1]} differ in their suffix alone, and would both become {_stem(twice[0])}.png')
    return [_task(_stem(file), path, set_folder, size) for file, path in sources.items()]


def _task(name: str, path: Path, set_folder: SetFolder, size: int | None) -> Task:
    """Return the task of one image."""
    return Task(name, path, set_folder.images / f'{name}.png', set_folder.root / GT / f'{name}.png' if size is not None else None)


def _stem(file: str) -> str:
    """Return a path without its suffix."""
    return PurePosixPath(file).with_suffix('').as_posix()


GT = 'gt'


@dataclass(frozen=True)
class Work:
    """What is needed to run tasks and to finish the set; `num_workers` is the number of processes, 0 for this one alone."""

    set_folder: SetFolder
    folder: Path
    recipe: DegradationRecipe
    num_workers: int
    journal: Journal

    def missing(self, tasks: Sequence[Task]) -> list[Task]:
        """Return the tasks to run: those whose files are missing or, before the set is complete, made from another clean image."""
        if self._images() is not None:
            return [task for task in tasks if not task.is_there]
        made = self.journal.read()
        return [task for task in tasks if not (task.is_there and hash_outputs(task) in made)]

    def fill(self, tasks: Sequence[Task]) -> list[WrittenPair]:
        """Run `tasks` and return the checksums of what was written."""
        with ProcessPoolExecutor(max(1, self.num_workers), initializer=prepare_process, initargs=(True,)) as workers:
            do = partial(make, recipe=self.recipe)
            done = workers.map(do, tasks) if self.num_workers and len(tasks) > 1 else map(do, tasks)
            try:
                return [self.journal.add(made) for made in tqdm(done, total=len(tasks), unit='face', disable=None)]
            except BrokenProcessPool:
                raise FRExError(f'--num_workers {self.num_workers}: a process was killed, perhaps for its memory; take fewer') from None

    def finish(self, tasks: Sequence[Task]) -> None:
        """Write record, labels and contact sheet of a set that is complete, and print where it is."""
        made = self._made(tasks)
        images = {f'{task.name}.png': entry(task, each, self.recipe, self.folder) for task, each in zip(tasks, made, strict=True)}
        check_unchanged(self._images() or {}, images, self.set_folder.images)
        copy_labels(self.folder, tasks, [self.set_folder.images, *([self.set_folder.root / GT] if self.recipe.size is not None else [])])
        write_image(self.set_folder.root / SHEET, sheet(tasks, self.recipe))
        self.set_folder.write((self.set_folder.read_set() or {}) | {'images': images})
        self.journal.remove()
        print(f'{len(tasks)} images in {self.set_folder.images}; look at {self.set_folder.root / SHEET}')

    def _made(self, tasks: Sequence[Task]) -> list[WrittenPair]:
        """Return the checksums of all images; degrade those again, also of other shards, whose clean image has changed since."""
        made = [hash_outputs(task) for task in tasks]
        known = set(made) if self._images() is not None else self.journal.read()
        stale = [task for task, each in zip(tasks, made, strict=True) if each not in known]
        again = {each.name: each for each in self.fill(stale)} if stale else {}
        return [again.get(each.name, each) for each in made]

    def _images(self) -> dict[str, Any] | None:
        """Return the entries of the images in the record; None before the set is complete."""
        return (self.set_folder.read_set() or {}).get('images')


def choose_degradation(preset: str, severity: int | None) -> DegradationRanges:
    """Return a preset, or one of its levels; raise FRExError where there is no such preset or level."""
    if preset not in PRESETS:
        raise FRExError(f'--preset {preset}: no such preset; {nearest(preset, list(PRESETS))}')
    if severity is None:
        return PRESETS[preset]
    if not 1 <= severity <= LEVELS:
        raise FRExError(f'--severity {severity}: a whole number from 1 to {LEVELS} is needed')
    return at_severity(PRESETS[preset], severity)


def at_severity(degradation: DegradationRanges, level: int) -> DegradationRanges:
    """Return one pass of Eq. 19 in which every step happens, with parameters from the `level`-th fifth of their ranges.

    An image has the same angles and the same noise seed at each level, and its parameters lie at the same position of each fifth. The
    noise itself differs, since downsampling leaves another size to fill.
    """
    d = degradation
    sizes = (min(d.motion_sizes), max(d.motion_sizes))
    low, high = _fifth(sizes, level)
    # Keep the number of sizes: then the random numbers that follow stay the same.
    last = max(1, len(d.motion_sizes) - 1)
    motion_sizes = tuple(low + (high - low) * number / last for number in range(len(d.motion_sizes)))
    best, worst = _fifth(d.jpeg_range[::-1], level)
    certain: dict[str, Any] = dict.fromkeys(('motion_prob', 'blur_prob', 'downsample_prob', 'noise_prob', 'jpeg_prob'), 1.0)
    return replace(
        d,
        **certain,
        motion_sizes=motion_sizes,
        blur_sigma=_fifth(d.blur_sigma, level),
        downsample_range=_fifth(d.downsample_range, level),
        noise_range=_fifth(d.noise_range, level),
        jpeg_range=(round(worst), round(best)),
        second_prob=0.0,
    )


def _fifth(ends: tuple[float, float], level: int) -> tuple[float, float]:
    """Return the `level`-th of five equal parts of the range from the first to the second of `ends`."""
    first, second = ends
    step = (second - first) / LEVELS
    return first + step * (level - 1), first + step * level

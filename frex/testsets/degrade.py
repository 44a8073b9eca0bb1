"""`frex degrade`: degrade a folder of aligned faces by Eq. 19; the same seed gives the same bytes.

It writes:

images/NAME.png        the degraded images, under the names of the clean ones; with dataset.json where FOLDER has one
gt/NAME.png            the clean images at the requested size, where --size is given; with dataset.json, too
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
    DegradationTask,
    Journal,
    WrittenPair,
    check_unchanged,
    copy_labels,
    draw_examples,
    hash_outputs,
    make_entry,
    run_task,
)
from frex.testsets.test_set_folder import SHEET, TestSetFolder, check_output_outside
from frex.utils.seeding import check_seed
from frex.utils.sharding import choose_shard

RECORD = 'degradations.json'
# The number of severities, which divide the ranges of a preset.
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

    `preset` is a key of PRESETS. `severity` (1 mildest to 5) applies every step once, with parameters of that fifth of their ranges; None
    draws from the whole ranges. `size` resizes the images first, None keeps their sizes. `num_workers` is the number of processes, 0 for
    this one alone. `shard`, I/N, degrades every N-th image only; under torchrun the processes divide it further.

    The parameters of an image depend only on `preset`, `severity`, `seed` and its path below `folder` without suffix. Results that exist
    are kept; until the set is complete, those whose clean image has changed are made again. The process that finds the set complete writes
    record, labels and contact sheet, and prints where they are. Raises FRExError for invalid options, for an image that cannot be read or
    is not square, where `out` lies in `folder`, was begun with other settings or holds something else, and where an image has changed since
    the set was completed.
    """
    check_seed(seed)
    _check_at_least(1, size=size)
    _check_at_least(0, num_workers=num_workers)
    own_shard = choose_shard(shard, os.environ)
    check_output_outside(folder, out, 'FOLDER')
    recipe = DegradationRecipe(choose_degradation(preset, severity), seed, size)
    settings = {'preset': preset, 'severity': severity, 'seed': seed, 'size': size, 'degradation': asdict(recipe.degradation)}
    test_set = TestSetFolder(out, RECORD)
    try:
        tasks = _list_tasks(folder, test_set, size)
        test_set.begin_set(settings)
        test_set.check_images([f'{task.name}.png' for task in tasks])
        writer = DegradedSetWriter(
            test_set, folder, recipe, num_workers, Journal(out, f'.{RECORD}', f'{own_shard.index}-of-{own_shard.count}')
        )
        writer.fill(writer.missing([tasks[number] for number in own_shard.of(len(tasks))]))
        if left := sum(not task.has_files for task in tasks):
            others = f'{left} of {len(tasks)} images are still missing from other shards'
            print(f'shard {own_shard.index} of {own_shard.count} is complete; {others}')
        else:
            writer.finish(tasks)
    except OSError as error:
        raise FRExError(f'a file cannot be read or written: {error}') from None
    return test_set.images_folder


def _check_at_least(least: int, **values: int | None) -> None:
    """Raise FRExError where one of `values`, the options by the names of their flags, is below `least`; None is accepted."""
    for name, value in values.items():
        if value is not None and value < least:
            raise FRExError(f'--{name} {value}: at least {least} is needed')


def _list_tasks(folder: Path, test_set: TestSetFolder, size: int | None) -> list[DegradationTask]:
    """Return one task per image below `folder`; raise FRExError where two images differ in their suffix only."""
    sources = find_images(folder)
    count = Counter(_strip_suffix(file) for file in sources)
    twice = [file for file in sources if count[_strip_suffix(file)] > 1]
    if twice:
        raise FRExError(
            f'{folder}: {twice[0]} and {twice[1]} differ in their suffix alone, and would both become {_strip_suffix(twice[0])}.png'
        )
    return [_make_task(_strip_suffix(file), path, test_set, size) for file, path in sources.items()]


def _make_task(name: str, path: Path, test_set: TestSetFolder, size: int | None) -> DegradationTask:
    """Return the task that degrades the image `path`; the copy at `size` is written only where `size` is given."""
    return DegradationTask(
        name, path, test_set.images_folder / f'{name}.png', test_set.root / GT / f'{name}.png' if size is not None else None
    )


def _strip_suffix(file: str) -> str:
    """Return a relative path without its file suffix."""
    return PurePosixPath(file).with_suffix('').as_posix()


GT = 'gt'


@dataclass(frozen=True)
class DegradedSetWriter:
    """Writes a degraded set: runs tasks in `num_workers` processes (0: in this one), and completes the set.

    `folder` holds the clean images; `journal` lists what was written until the record is complete.
    """

    test_set: TestSetFolder
    folder: Path
    recipe: DegradationRecipe
    num_workers: int
    journal: Journal

    def missing(self, tasks: Sequence[DegradationTask]) -> list[DegradationTask]:
        """Return the tasks to run: those without all files and, before the set is complete, those of which a file has changed."""
        if self._recorded_images() is not None:
            return [task for task in tasks if not task.has_files]
        recorded = self.journal.read()
        return [task for task in tasks if not (task.has_files and hash_outputs(task) in recorded)]

    def fill(self, tasks: Sequence[DegradationTask]) -> list[WrittenPair]:
        """Run `tasks`, add the checksums of what they write to the journal, and return these checksums in the order of `tasks`.

        Raises FRExError where an image cannot be read or is not square, and where a worker process is killed.
        """
        with ProcessPoolExecutor(max(1, self.num_workers), initializer=prepare_process, initargs=(True,)) as workers:
            do = partial(run_task, recipe=self.recipe)
            done = workers.map(do, tasks) if self.num_workers and len(tasks) > 1 else map(do, tasks)
            try:
                return [self.journal.add(pair) for pair in tqdm(done, total=len(tasks), unit='face', disable=None)]
            except BrokenProcessPool:
                raise FRExError(f'--num_workers {self.num_workers}: a process was killed, perhaps for its memory; take fewer') from None

    def finish(self, tasks: Sequence[DegradationTask]) -> None:
        """Write record, labels and contact sheet of a complete set, and print where it is; `tasks` are those of all shards.

        Raises FRExError where an image has changed since an earlier run completed the set.
        """
        pairs = self._refresh_stale(tasks)
        images = {f'{task.name}.png': make_entry(task, pair, self.recipe, self.folder) for task, pair in zip(tasks, pairs, strict=True)}
        check_unchanged(self._recorded_images() or {}, images, self.test_set.images_folder)
        copy_labels(self.folder, tasks, [self.test_set.images_folder, *([self.test_set.root / GT] if self.recipe.size is not None else [])])
        write_image(self.test_set.root / SHEET, draw_examples(tasks, self.recipe))
        self.test_set.write((self.test_set.read_set() or {}) | {'images': images})
        self.journal.remove()
        print(f'{len(tasks)} images in {self.test_set.images_folder}; look at {self.test_set.root / SHEET}')

    def _refresh_stale(self, tasks: Sequence[DegradationTask]) -> list[WrittenPair]:
        """Return the checksums of all images, after running the tasks again, of all shards, whose clean image has changed since."""
        pairs = [hash_outputs(task) for task in tasks]
        known = set(pairs) if self._recorded_images() is not None else self.journal.read()
        stale = [task for task, each in zip(tasks, pairs, strict=True) if each not in known]
        again = {each.name: each for each in self.fill(stale)} if stale else {}
        return [again.get(each.name, each) for each in pairs]

    def _recorded_images(self) -> dict[str, Any] | None:
        """Return the entries of the images in the record, by file name; None before the set is complete."""
        return (self.test_set.read_set() or {}).get('images')


def choose_degradation(preset: str, severity: int | None) -> DegradationRanges:
    """Return the preset, restricted to `severity` where one is given; raise FRExError for an unknown preset or severity."""
    if preset not in PRESETS:
        raise FRExError(f'--preset {preset}: no such preset; {nearest(preset, list(PRESETS))}')
    if severity is None:
        return PRESETS[preset]
    if not 1 <= severity <= LEVELS:
        raise FRExError(f'--severity {severity}: a whole number from 1 to {LEVELS} is needed')
    return restrict_to_severity(PRESETS[preset], severity)


def restrict_to_severity(degradation: DegradationRanges, level: int) -> DegradationRanges:
    """Return one pass of Eq. 19 in which every step happens, with parameters from the `level`-th fifth of their ranges, 1 the mildest.

    An image has the same angles and the same noise seed at each level, and its parameters lie at the same position within each fifth. The
    noise itself differs, since downsampling leaves another size to fill.
    """
    d = degradation
    sizes = (min(d.motion_sizes), max(d.motion_sizes))
    low, high = _take_fifth(sizes, level)
    # Keep the number of sizes, so that all later random numbers are the same at each level.
    last = max(1, len(d.motion_sizes) - 1)
    motion_sizes = tuple(low + (high - low) * number / last for number in range(len(d.motion_sizes)))
    best, worst = _take_fifth(d.jpeg_range[::-1], level)
    certain: dict[str, Any] = dict.fromkeys(('motion_prob', 'blur_prob', 'downsample_prob', 'noise_prob', 'jpeg_prob'), 1.0)
    return replace(
        d,
        **certain,
        motion_sizes=motion_sizes,
        blur_sigma=_take_fifth(d.blur_sigma, level),
        downsample_range=_take_fifth(d.downsample_range, level),
        noise_range=_take_fifth(d.noise_range, level),
        jpeg_range=(round(worst), round(best)),
        second_prob=0.0,
    )


def _take_fifth(ends: tuple[float, float], level: int) -> tuple[float, float]:
    """Return the ends of the `level`-th of five equal parts of the range from the first to the second of `ends`."""
    first, second = ends
    step = (second - first) / LEVELS
    return first + step * (level - 1), first + step * level

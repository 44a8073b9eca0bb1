"""`frex degrade`: the degradations of Eq. 19 for a folder of aligned faces, the same bytes from the same seed.

images/NAME.png        the degraded pictures, below the names of the clean ones; with dataset.json where FOLDER has one
gt/NAME.png            the clean ones at the asked size, where one is asked for
degradations.json      settings, versions, and each picture's draws and sums
contact_sheet.jpg      some of them, clean and degraded
"""

import os
from collections import Counter
from dataclasses import asdict
from pathlib import Path, PurePosixPath

from frex.errors import FRExError
from frex.labelling.pictures import pictures_below
from frex.shards import choose_share
from frex.testsets.degraded_journal import Journal
from frex.testsets.degraded_pictures import Recipe, Task
from frex.testsets.degraded_work import GT, Work
from frex.testsets.lots import check_seed
from frex.testsets.set_folder import SetFolder, check_apart
from frex.testsets.severity import choose_degradation

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
    """Degrade the square pictures in and below `folder`; the answer is the folder of the results, `out/images`.

    What a picture becomes follows from `seed` and its name without suffix, below `folder`. What is there already is kept. The
    process that finds the set whole writes record, labels and contact sheet. Raises FRExError for bad settings, for a
    picture that cannot be read, and where `out` holds something else.
    """
    check_seed(seed)
    _check_at_least(1, size=size)
    _check_at_least(0, num_workers=num_workers)
    share = choose_share(shard, os.environ)
    check_apart(folder, out, 'FOLDER')
    recipe = Recipe(choose_degradation(preset, severity), seed, size)
    settings = {'preset': preset, 'severity': severity, 'seed': seed, 'size': size, 'degradation': asdict(recipe.degradation)}
    place = SetFolder(out, RECORD)
    try:
        tasks = _tasks(folder, place, size)
        place.begin_set(settings)
        place.check_pictures([f'{task.name}.png' for task in tasks])
        work = Work(place, folder, recipe, num_workers, Journal(out, f'.{RECORD}', f'{share.index}-of-{share.count}'))
        work.fill(work.missing([tasks[number] for number in share.of(len(tasks))]))
        if left := sum(not task.is_there for task in tasks):
            print(f'part {share.index} of {share.count} is whole; {left} of {len(tasks)} pictures are still to come from others')
        else:
            work.conclude(tasks)
    except OSError as error:
        raise FRExError(f'a file cannot be read or written: {error}') from None
    return place.images


def _check_at_least(least: int, **values: int | None) -> None:
    for name, value in values.items():
        if value is not None and value < least:
            raise FRExError(f'--{name} {value}: at least {least} is needed')


def _tasks(folder: Path, place: SetFolder, size: int | None) -> list[Task]:
    pictures = pictures_below(folder)
    count = Counter(_stem(file) for file in pictures)
    twice = [file for file in pictures if count[_stem(file)] > 1]
    if twice:
        raise FRExError(f'{folder}: {twice[0]} and {twice[1]} differ in their suffix alone, and would both become {_stem(twice[0])}.png')
    return [_task(_stem(file), path, place, size) for file, path in pictures.items()]


def _task(name: str, path: Path, place: SetFolder, size: int | None) -> Task:
    return Task(name, path, place.images / f'{name}.png', place.root / GT / f'{name}.png' if size is not None else None)


def _stem(file: str) -> str:
    return PurePosixPath(file).with_suffix('').as_posix()

"""What is told of a degraded set beside its pictures: draws and sums, labels, a contact sheet."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from frex.data.contact_sheet import contact_sheet
from frex.data.degradation import Draw
from frex.data.labels import read_labels, write_labels
from frex.errors import FRExError
from frex.images import Image, read_image, resize
from frex.labelling.pictures import as_lists, match
from frex.testsets.degraded_journal import Made
from frex.testsets.degraded_pictures import Recipe, Task

LABELS = 'dataset.json'
SHOWN, TILE = 24, 160
LONGEST_CAPTION = 22


def entry(task: Task, made: Made, recipe: Recipe, folder: Path) -> dict[str, Any]:
    """A picture's part of the record; `gt` is its file below `folder`."""
    draws = [asdict(once) for once in recipe.draws(task.name)]
    return {'gt': task.source.relative_to(folder).as_posix(), **made.sums, 'draws': draws}


def check_unchanged(before: Mapping[str, Any], now: Mapping[str, Any], images: Path) -> None:
    """Raise FRExError where a picture is not the one that the record of before tells of."""
    for name in before.keys() & now.keys():
        clean = f'the clean picture {now[name]["gt"]}'
        for key, what in (('gt_sha256', clean), ('sha256', 'this picture'), ('resized_sha256', f'the copy of {clean}')):
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


def sheet(tasks: Sequence[Task], recipe: Recipe) -> Image:
    """Pairs of a clean picture with its name and the degraded one with its draws, evenly from among all."""
    chosen = np.linspace(0, len(tasks) - 1, min(len(tasks), SHOWN)).round().astype(int)
    shown = [tasks[number] for number in chosen.tolist()]
    pictures = [resize(image, TILE) for task in shown for image in (recipe.gt(task.source), read_image(task.lq))]
    captions = [text for task in shown for text in (task.name[-LONGEST_CAPTION:], caption(recipe.draws(task.name)))]
    return contact_sheet(pictures, captions, size=TILE)


def caption(draws: Sequence[Draw]) -> str:
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

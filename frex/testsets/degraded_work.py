"""The pictures of `frex degrade` made, and the set finished once all are there."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from frex.data.workers import prepare_process
from frex.errors import FRExError
from frex.images import write_image
from frex.testsets.degraded_journal import Journal, Made, made_of, make
from frex.testsets.degraded_pictures import Recipe, Task
from frex.testsets.degraded_record import check_unchanged, copy_labels, entry, sheet
from frex.testsets.set_folder import SHEET, SetFolder

GT = 'gt'


@dataclass(frozen=True)
class Work:
    """What is needed to do a task and to finish the set; `num_workers` is the number of processes, 0 for this one alone."""

    place: SetFolder
    folder: Path
    recipe: Recipe
    num_workers: int
    journal: Journal

    def missing(self, tasks: Sequence[Task]) -> list[Task]:
        """Those to do: in a set that is not whole also what was made of a clean picture that has changed since."""
        if self._images() is not None:
            return [task for task in tasks if not task.is_there]
        made = self.journal.read()
        return [task for task in tasks if not (task.is_there and made_of(task) in made)]

    def fill(self, tasks: Sequence[Task]) -> list[Made]:
        """Do `tasks`."""
        with ProcessPoolExecutor(max(1, self.num_workers), initializer=prepare_process, initargs=(True,)) as workers:
            do = partial(make, recipe=self.recipe)
            done = workers.map(do, tasks) if self.num_workers and len(tasks) > 1 else map(do, tasks)
            try:
                return [self.journal.add(made) for made in tqdm(done, total=len(tasks), unit='face', disable=None)]
            except BrokenProcessPool:
                raise FRExError(f'--num_workers {self.num_workers}: a process was killed, perhaps for its memory; take fewer') from None

    def conclude(self, tasks: Sequence[Task]) -> None:
        """Finish a set that is whole, and say what is there."""
        made = self._made(tasks)
        images = {f'{task.name}.png': entry(task, each, self.recipe, self.folder) for task, each in zip(tasks, made, strict=True)}
        check_unchanged(self._images() or {}, images, self.place.images)
        copy_labels(self.folder, tasks, [self.place.images, *([self.place.root / GT] if self.recipe.size is not None else [])])
        write_image(self.place.root / SHEET, sheet(tasks, self.recipe))
        self.place.write((self.place.record_of_set() or {}) | {'images': images})
        self.journal.remove()
        print(f'{len(tasks)} pictures in {self.place.images}; look at {self.place.root / SHEET}')

    def _made(self, tasks: Sequence[Task]) -> list[Made]:
        """The sums of all, once those are made again, also of other shares, whose clean picture has changed since."""
        made = [made_of(task) for task in tasks]
        known = set(made) if self._images() is not None else self.journal.read()
        stale = [task for task, each in zip(tasks, made, strict=True) if each not in known]
        again = {each.name: each for each in self.fill(stale)} if stale else {}
        return [again.get(each.name, each) for each in made]

    def _images(self) -> dict[str, Any] | None:
        """What the record tells of the pictures; None before the set is whole."""
        return (self.place.record_of_set() or {}).get('images')

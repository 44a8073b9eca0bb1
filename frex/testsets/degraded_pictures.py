"""A clean picture becomes a degraded one on disk; what it looks like follows from (seed, name) alone."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from frex.data.degradation import Degradation, Draw, degrade, draw
from frex.images import Image, resize, write_image
from frex.labelling.pictures import read_aligned
from frex.testsets.lots import generator

PURPOSE = 'degrade'


@dataclass(frozen=True)
class Recipe:
    """What pictures are degraded by; `size` is that of the results, None for that of each picture."""

    degradation: Degradation
    seed: int
    size: int | None = None

    def draws(self, name: str) -> list[Draw]:
        """Those of the picture called `name`, a path without suffix."""
        return draw(self.degradation, generator(self.seed, PURPOSE, name))

    def gt(self, path: Path) -> Image:
        """The clean picture at the size of the results; raises FRExError where it is not square or cannot be read."""
        image = read_aligned(path)
        return image if self.size is None else resize(image, self.size)

    def lq(self, gt: Image, name: str) -> Image:
        """The degraded picture."""
        lq = degrade(gt.astype(np.float32) / 255, self.draws(name))
        return (lq * 255).round().astype(np.uint8)


@dataclass(frozen=True)
class Task:
    """One picture: its name, a path without suffix, the file it is made of, those it becomes; `gt` is None where it stays as it is."""

    name: str
    source: Path
    lq: Path
    gt: Path | None

    @property
    def is_there(self) -> bool:
        """Something is there; of which clean picture it was made the journal tells."""
        return self.lq.exists() and (self.gt is None or self.gt.exists())


def write(task: Task, recipe: Recipe) -> None:
    """Do a task: whole files, or none."""
    gt = recipe.gt(task.source)
    if task.gt is not None:
        write_image(task.gt, gt)
    write_image(task.lq, recipe.lq(gt, task.name))

"""Which pictures are to be restored, and where their results go."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from frex.errors import FRExError
from frex.restore.runs.earlier import Earlier
from frex.restore.runs.inputs import Input
from frex.restore.runs.outputs import Outputs, Results
from frex.restore.runs.report import PictureRecord, absolute
from frex.restore.runs.tasks import Job, failure


class Plan:
    """`inputs`: all of a run, over which none of its results may be written."""

    def __init__(self, outputs: Outputs, earlier: Earlier, aligned: bool, inputs: Sequence[Input]) -> None:
        self.outputs, self.earlier, self.aligned = outputs, earlier, aligned
        folders = tuple(f'{os.path.realpath(folder)}{os.sep}' for folder in outputs.folders)
        self.among_results = {place for item in inputs if (place := os.path.realpath(item.path)).startswith(folders)}

    def jobs(self, items: Sequence[Input], tell: Callable[[PictureRecord], None]) -> Iterator[Job]:
        """The pictures that are to be restored; `tell` hears of the others."""
        for item in items:
            try:
                planned = self._of(item)
            # What a file's name leads to is no closed list.
            except (FRExError, OSError, ValueError) as error:
                tell(failure(item, error))
                continue
            if isinstance(planned, Results):
                yield Job(item, planned)
            else:
                tell(planned)

    def _of(self, item: Input) -> Results | PictureRecord:
        results = self.outputs.plan(item, self.aligned)
        there = self.outputs.results(item) if results is None else results
        self._check_apart(item.path, there)
        if self.outputs.exist == 'skip':
            self.earlier.check_own(item.path, there)
        if results is not None:
            return results
        return PictureRecord(input=absolute(item.path), status='skipped', reason=self.earlier.remark(item.path, there, self.aligned))

    def _check_apart(self, path: Path, results: Results) -> None:
        """Raise FRExError where a result would be written over a picture that is to be read."""
        if not self.among_results:
            return
        for file in (results.picture, *self.outputs.former.of(results.name)):
            if os.path.realpath(file) in self.among_results:
                raise FRExError(f'{path}: its result would be written over the input {file}; give another --output')

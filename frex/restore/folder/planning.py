"""Which images are to be restored, and where their results go."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from frex.errors import FRExError
from frex.restore.folder.inputs import Input
from frex.restore.folder.jobs import Job, failure
from frex.restore.folder.outputs import FACES, Outputs, Results
from frex.restore.folder.report import PictureRecord, Report, absolute, as_text, results_of

OF_ALL = ('aligned', 'model_path', 'param_key', 'fidelity_weight', 'structure_weight', 'save_3d', 'save_weights_map')
OF_PHOTOGRAPHS = ('upscale', 'only_center_face', 'detection_model', 'det_threshold', 'min_face', 'no_face', 'force')
UNKNOWN = 'are not in the report: made elsewhere, or by a run that was killed'


class PreviousResults:
    """`report`: as it is before a run; `settings`: the run's own."""

    def __init__(self, report: Report, settings: Mapping[str, Any]) -> None:
        self._owners = {file: record.input for record in report.pictures for file in results_of(record)}
        self._runs = {record.input: record.run for record in report.pictures}
        self._otherwise = {name: _differences(run.settings, settings) for name, run in report.runs.items()}

    def check_own(self, path: Path, results: Results) -> None:
        """Raise FRExError where results that are there are another input's than `path`."""
        for file in (results.picture, *(results.face(folder, 0) for folder in FACES)):
            owner = self._owners.get(_name(file, results))
            if owner is not None and owner != absolute(path) and file.exists() and not _is_same(owner, path):
                raise FRExError(
                    f'{path}: {_name(file, results)} is the result of {owner}; give another --output or --suffix, or --exist rename'
                )

    def remark(self, path: Path, results: Results, aligned: bool) -> str | None:
        """What there is to say where the results of `path` are there, and stay."""
        owner = self._owners.get(_name(results.main(aligned), results))
        if owner is None:
            return UNKNOWN
        otherwise = self._otherwise.get(self._runs[owner])
        return f'were made with other settings ({otherwise})' if otherwise else None


def _name(file: Path, results: Results) -> str:
    return as_text(file.relative_to(results.folder).as_posix())


def _is_same(owner: str, path: Path) -> bool:
    try:
        return os.path.samefile(owner, path)
    except OSError:
        return False


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    names = OF_ALL if now.get('aligned') and before.get('aligned') else OF_ALL + OF_PHOTOGRAPHS
    return ', '.join(f'{name} {before[name]}' for name in names if name in before and name in now and before[name] != now[name])


class Plan:
    """`inputs`: all of a run, over which none of its results may be written."""

    def __init__(self, outputs: Outputs, earlier: PreviousResults, aligned: bool, inputs: Sequence[Input]) -> None:
        self.outputs, self.earlier, self.aligned = outputs, earlier, aligned
        folders = tuple(f'{os.path.realpath(folder)}{os.sep}' for folder in outputs.folders)
        self.among_results = {place for item in inputs if (place := os.path.realpath(item.path)).startswith(folders)}

    def jobs(self, items: Sequence[Input], tell: Callable[[PictureRecord], None]) -> Iterator[Job]:
        """The images that are to be restored; `tell` hears of the others."""
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
        """Raise FRExError where a result would be written over an image that is to be read."""
        if not self.among_results:
            return
        for file in (results.picture, *self.outputs.former.of(results.name)):
            if os.path.realpath(file) in self.among_results:
                raise FRExError(f'{path}: its result would be written over the input {file}; give another --output')


# The flags that say what a result looks like.

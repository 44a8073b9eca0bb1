"""Decide which images of a run are restored, and which are skipped or fail because of results that exist already."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from frex.errors import FRExError
from frex.restore.folder.inputs import Input
from frex.restore.folder.outputs import FACES, Outputs, Results
from frex.restore.folder.report import ImageRecord, Report, absolute_name, list_results, make_failure_record, relative_name

# The settings that change a result, and those of them that apply to photographs only.
ALWAYS_COMPARED = ('aligned', 'model_path', 'param_key', 'fidelity_weight', 'structure_weight', 'save_3d', 'save_weights_map')
COMPARED_FOR_PHOTOGRAPHS = ('upscale', 'only_center_face', 'detection_model', 'det_threshold', 'min_face', 'no_face', 'force')
UNKNOWN = 'are not in the report: made elsewhere, or by a run that was killed'


class Job(NamedTuple):
    """An input image that is restored, and the files of its results."""

    item: Input
    results: Results


class PreviousResults:
    """The results of earlier runs according to `report`, compared with the `settings` of this run."""

    def __init__(self, report: Report, settings: Mapping[str, Any]) -> None:
        self._owners = {file: record.input for record in report.images for file in list_results(record)}
        self._runs = {record.input: record.run for record in report.images}
        self._differences = {name: _describe_differences(run.settings, settings) for name, run in report.runs.items()}

    def check_owner(self, path: Path, results: Results) -> None:
        """Raise FRExError where existing files among `results` belong to another input than `path`."""
        for file in (results.image, *(results.face(folder, 0) for folder in FACES)):
            owner = self._owners.get(relative_name(file, results.folder))
            if owner is not None and owner != absolute_name(path) and file.exists() and not _is_same_file(owner, path):
                raise FRExError(
                    f'{path}: {relative_name(file, results.folder)} is the result of {owner}; '
                    'give another --output or --suffix, or --exist rename'
                )

    def describe_existing(self, results: Results, aligned: bool) -> str | None:
        """Return a note on the existing results of an input that is skipped; None where this run would make the same.

        It says that they come from an unknown run, or which of their settings differ from those of this run.
        """
        owner = self._owners.get(relative_name(results.main(aligned), results.folder))
        if owner is None:
            return UNKNOWN
        differences = self._differences.get(self._runs[owner])
        return f'were made with other settings ({differences})' if differences else None


def _is_same_file(owner: str, path: Path) -> bool:
    try:
        return os.path.samefile(owner, path)
    except OSError:
        return False


def _describe_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    names = ALWAYS_COMPARED if now.get('aligned') and before.get('aligned') else ALWAYS_COMPARED + COMPARED_FOR_PHOTOGRAPHS
    return ', '.join(f'{name} {before[name]}' for name in names if name in before and name in now and before[name] != now[name])


class Plan:
    """The plan of a run. `inputs` are all images of the run, of all processes; no result may be written over one of them."""

    def __init__(self, outputs: Outputs, previous: PreviousResults, aligned: bool, inputs: Sequence[Input]) -> None:
        self.outputs, self.previous, self.aligned = outputs, previous, aligned
        folders = tuple(f'{os.path.realpath(folder)}{os.sep}' for folder in outputs.folders)
        # The inputs that lie in folders of results, which only named files and links can.
        self.inputs_among_results = {path for item in inputs if (path := os.path.realpath(item.path)).startswith(folders)}

    def decide(self, item: Input) -> Job | ImageRecord:
        """Return the job of an input that is restored, or the record of one that is skipped or fails."""
        try:
            return self._decide(item)
        # A file name can cause errors of many kinds.
        except (FRExError, OSError, ValueError) as error:
            return make_failure_record(item.path, error)

    def _decide(self, item: Input) -> Job | ImageRecord:
        results = self.outputs.plan(item, self.aligned)
        expected = self.outputs.results(item) if results is None else results
        self._check_no_input_overwritten(item.path, expected)
        if self.outputs.exist == 'skip':
            self.previous.check_owner(item.path, expected)
        if results is not None:
            return Job(item, results)
        return ImageRecord(input=absolute_name(item.path), status='skipped', reason=self.previous.describe_existing(expected, self.aligned))

    def _check_no_input_overwritten(self, path: Path, results: Results) -> None:
        """Raise FRExError where a result would be written over an input of the run."""
        if not self.inputs_among_results:
            return
        for file in (results.image, *self.outputs.face_files.of(results.name)):
            if os.path.realpath(file) in self.inputs_among_results:
                raise FRExError(f'{path}: its result would be written over the input {file}; give another --output')

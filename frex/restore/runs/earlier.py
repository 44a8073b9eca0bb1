"""What the report knows of results that are there."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from frex.errors import FRExError
from frex.restore.runs.outputs import FACES, Results
from frex.restore.runs.report import Report, absolute, as_text, results_of

# The flags that say what a result looks like.
OF_ALL = ('aligned', 'model_path', 'param_key', 'fidelity_weight', 'structure_weight', 'save_3d', 'save_weights_map')
OF_PHOTOGRAPHS = ('upscale', 'only_center_face', 'detection_model', 'det_threshold', 'min_face', 'no_face', 'force')
UNKNOWN = 'are not in the report: made elsewhere, or by a run that was killed'


class Earlier:
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

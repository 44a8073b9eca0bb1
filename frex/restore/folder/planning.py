"""Decide which images of a run are restored, and which are skipped or fail because of results that exist or are being made."""

import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from frex.errors import FRExError
from frex.restore.folder.claims import Claims
from frex.restore.folder.inputs import Input, Inputs
from frex.restore.folder.outputs import Outputs, Results
from frex.restore.folder.report import ImageRecord, absolute_name, make_failure_record, make_interrupted_record, to_text
from frex.restore.folder.report_index import Owner

# The settings that change a result, and those of them that apply to photographs and films only.
ALWAYS_COMPARED = ('aligned', 'model_path', 'param_key', 'fidelity_weight', 'structure_weight', 'save_3d', 'save_head', 'save_weights_map')
COMPARED_FOR_PHOTOGRAPHS = (
    *('upscale', 'bg_upsampler', 'face_upsample', 'only_center_face', 'detection_model', 'det_threshold', 'detection_size', 'min_face'),
    *('any_turn', 'no_face', 'force'),
)
COMPARED_FOR_FILMS = ('video_codec', 'crf', 'no_tracking')
UNKNOWN = 'are not in the report: made elsewhere, or before a run with --exist rename'
SHARED = 'are restored by another run at the same time'

Decision = TypeVar('Decision')


class Job(NamedTuple):
    """An input image that is restored, and the files of its results."""

    item: Input
    results: Results


class Plan:
    """The plan of a run. `inputs` are all images of the run, of all processes; no result may be written over one of them.

    `claims` are the owners of results. An image that is restored claims its results, whatever happens to existing ones.
    """

    def __init__(self, outputs: Outputs, claims: Claims, aligned: bool, inputs: Inputs) -> None:
        self.outputs, self.claims, self.aligned = outputs, claims, aligned
        folders = tuple(f'{os.path.realpath(folder)}{os.sep}' for folder in outputs.folders)
        # The links in the path of a folder are followed once for all of its files.
        resolve_folder = lru_cache(os.path.realpath)
        resolved = (
            os.path.realpath(path) if os.path.islink(path) else os.path.join(resolve_folder(os.path.dirname(path)), os.path.basename(path))
            for path, _ in inputs.texts
        )
        # The inputs that lie in folders of results, which only named files and links can.
        self.inputs_among_results = {path for path in resolved if path.startswith(folders)}

    def decide(self, item: Input) -> Job | ImageRecord:
        """Return the job of an input that is restored, or the record of one that is skipped or fails.

        Raises FRExError where the output folder cannot be locked.
        """
        known = _attempt(self._decide_known, item)
        if known is not None:
            return known
        with self.claims.locked():
            return _attempt(self._claim, item)

    def _decide_known(self, item: Input) -> ImageRecord | None:
        """Return the record of an input for which the report alone says what happens, so that no other process need wait."""
        if self.outputs.exist != 'skip':
            return None
        results = self.outputs.plan(item)
        owners = self._owners_of(results)
        owner = owners[results.main(self.aligned)]
        return None if owner is None or owner.process else self._judge(item.path, results, owners)

    def _claim(self, item: Input) -> Job | ImageRecord:
        results = self.outputs.plan(item, self._is_claimed)
        record = self._judge(item.path, results, self._owners_of(results))
        if record is not None:
            return record
        image, face = results.own_files()
        self.claims.claim(
            make_interrupted_record(item.path, None if self.aligned else to_text(image), None if face is None else to_text(face))
        )
        return Job(item, results)

    def _is_claimed(self, results: Results) -> bool:
        return any(owner is not None and self.claims.is_current(owner) for owner in self._owners_of(results).values())

    def _judge(self, path: Path, results: Results, owners: Mapping[str, Owner | None]) -> ImageRecord | None:
        """Return the record of an input that is skipped, or None where it is restored; raise FRExError where its results cannot be."""
        self._check_no_input_overwritten(path, results)
        for file, owner in owners.items():
            self._check_owner(path, file, owner)
        main = results.main(self.aligned)
        owner = owners[main]
        if owner is not None and self.claims.is_current(owner):
            return self._share(path, main, owner, results.film)
        if self.outputs.exist != 'skip' or not os.path.exists(results.folder / main) or (owner is not None and owner.status == 'failed'):
            return None
        differences = '' if owner is None else self._describe_differences(owner, results.film)
        reason = UNKNOWN if owner is None else f'were made with other settings ({differences})' if differences else None
        return ImageRecord(input=absolute_name(path), status='skipped', reason=reason)

    def _check_owner(self, path: Path, file: str, owner: Owner | None) -> None:
        """Raise FRExError where a result of the input `path` belongs to another input, and may not or cannot be overwritten now."""
        if owner is None or _is_same_file(owner.input, path):
            return
        current = self.claims.is_current(owner)
        if current or (self.outputs.exist == 'skip' and os.path.exists(self.outputs.folder / file)):
            raise FRExError(
                f'{path}: {file} is the result of {owner.input}'
                f'{", which another run restores at the same time" * current}; give another --output or --suffix, or --exist rename'
            )

    def _share(self, path: Path, file: str, owner: Owner, film: bool) -> ImageRecord:
        """Return the record of an input that is skipped because another run restores it now; raise FRExError where that does otherwise."""
        differences = self._describe_differences(owner, film)
        if differences:
            raise FRExError(
                f'{path}: another run makes {file} at the same time with other settings '
                f'({differences}); give another --output or --suffix, or --exist rename'
            )
        return ImageRecord(input=absolute_name(path), status='skipped', reason=SHARED)

    def _owners_of(self, results: Results) -> dict[str, Owner | None]:
        return {file: self.claims.owner_of(to_text(file)) for file in results.own_files() if file is not None}

    def _describe_differences(self, owner: Owner, film: bool) -> str:
        run = self.claims.index.runs.get(owner.run)
        return '' if run is None else _describe_differences(run.settings, self.claims.journal.settings, film)

    def _check_no_input_overwritten(self, path: Path, results: Results) -> None:
        """Raise FRExError where a result would be written over an input of the run."""
        if not self.inputs_among_results:
            return
        for file in (results.image, *self.outputs.face_files.of(results.name)):
            if os.path.realpath(file) in self.inputs_among_results:
                raise FRExError(f'{path}: its result would be written over the input {file}; give another --output')


def _attempt(decide: Callable[[Input], Decision], item: Input) -> Decision | ImageRecord:
    """Return what `decide` returns for an input, or the record of its failure."""
    try:
        return decide(item)
    # A file name can cause errors of many kinds.
    except (FRExError, OSError, ValueError) as error:
        return make_failure_record(item.path, error)


def _is_same_file(owner: str, path: Path) -> bool:
    try:
        return owner == absolute_name(path) or os.path.samefile(owner, path)
    except OSError:
        return False


def _describe_differences(before: Mapping[str, Any], now: Mapping[str, Any], film: bool) -> str:
    names: tuple[str, ...] = ALWAYS_COMPARED if now.get('aligned') and before.get('aligned') else ALWAYS_COMPARED + COMPARED_FOR_PHOTOGRAPHS
    names += COMPARED_FOR_FILMS if film else ()
    return ', '.join(f'{name} {before[name]}' for name in names if name in before and name in now and before[name] != now[name])

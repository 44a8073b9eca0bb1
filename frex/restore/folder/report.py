"""Read and write `report.json`, which records the result of each image and face, and print its summary.

Several processes and several runs write to the same file. Its keys do not change while `version` is 1. Coordinates are pixels of the
upright image, angles are in degrees, times in seconds, and files relative to the folder of the report; what is not known is null.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Literal

import msgspec
from filelock import FileLock, Timeout
from msgspec import Struct, field

from frex.errors import FRExError, one_line
from frex.utils.files import MissingFileError, read_regular, write_atomically
from frex.utils.text import in_columns

Status = Literal['restored', 'no face', 'skipped', 'failed']
STATUSES: tuple[Status, ...] = ('restored', 'no face', 'skipped', 'failed')


class FaceRecord(Struct, kw_only=True):
    """The record of a face. `box` is left, top, right, bottom; `landmarks` are eyes, nose, corners of the mouth.

    `size` is the side of the aligned square in pixels of the image. `yaw` and `pitch` are those of the network's camera, in EG3D's
    crop. `identity_similarity` is the cosine of ArcFace's embeddings before and after, 1 for the same. `reason` says why a face is not
    restored; it is null for a restored one. `files` holds the results by the names of their folders. For aligned inputs box, score and
    landmarks are null.
    """

    box: list[float] | None = None
    score: float | None = None
    landmarks: list[list[float]] | None = None
    size: float | None = None
    yaw: float | None = None
    pitch: float | None = None
    identity_similarity: float | None = None
    reason: str | None = None
    files: dict[str, str] = {}


class ImageRecord(Struct, kw_only=True):
    """The record of an image. `status` is restored, no face, skipped (its results existed already) or failed.

    `reason` says why it failed, why none of its faces can be restored, or what is special about results that existed. `width` and
    `height` are those of the input. `output` is the file in `restored_imgs`. `seconds` holds the times of the stages read, detect,
    restore and write; restore is the sum over the image's faces, each of which has an equal part of its batch's time. `notes` lists
    what a result does not keep, such as alpha in a jpg. `run` is a key of the report's `runs`.
    """

    input: str
    status: Status
    reason: str | None = None
    width: int | None = None
    height: int | None = None
    output: str | None = None
    seconds: dict[str, float] = {}
    notes: list[str] = []
    faces: list[FaceRecord] = []
    run: str = ''


class Run(Struct, kw_only=True):
    """One call of the command, in `processes` processes; `finished` lists the numbers of those that have handled all their images.

    `images`, in the file `pictures`, counts images by status, `faces` counts restored faces, and `skipped` counts skipped images by
    their reason. `passed_over` holds the files in input folders that are not images, by absolute names, with the reason. `settings` are
    the options by their names. Times are seconds since 1970.
    """

    settings: dict[str, str | float | bool | list[str] | None] = {}
    started: float
    ended: float
    processes: int = 1
    finished: list[int] = []
    images: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STATUSES, 0), name='pictures')
    faces: int = 0
    skipped: dict[str, int] = {}
    passed_over: dict[str, str] = {}


class Report(Struct, kw_only=True):
    """The content of `report.json`. `runs` holds the runs by their ids.

    `images`, in the file `pictures`, holds one record for each image, that of the last run that did not skip it. The records are sorted
    by `input`, which is an absolute path.
    """

    version: Literal[1]
    runs: dict[str, Run] = {}
    images: list[ImageRecord] = field(default_factory=list, name='pictures')


def is_complete(run: Run) -> bool:
    """Return whether all processes of a run have handled all their images."""
    return len(run.finished) >= run.processes


def list_results(record: ImageRecord) -> Iterator[str]:
    """Yield the result files that belong to one image only: its restored image and its restored faces."""
    if record.output is not None:
        yield record.output
    yield from (face.files['restored_faces'] for face in record.faces if 'restored_faces' in face.files)


def absolute_name(path: Path) -> str:
    """Return the absolute path of an input as the report writes it; symbolic links are not followed."""
    return to_text(os.path.abspath(path))


def relative_name(path: Path, folder: Path) -> str:
    """Return the path of a result relative to the output folder, as the report writes it."""
    return to_text(path.relative_to(folder).as_posix())


def to_text(name: str) -> str:
    """Return a file name as valid Unicode, with bytes that are not UTF-8 as backslash escapes, because JSON cannot hold them."""
    return name.encode(errors='backslashreplace').decode()


def make_failure_record(path: Path, error: Exception) -> ImageRecord:
    """Return the record of the input `path`, which failed with `error`."""
    reason = str(error) if isinstance(error, FRExError) else one_line(f'{type(error).__name__}: {error}')
    return ImageRecord(input=absolute_name(path), status='failed', reason=reason)


REPORT = 'report.json'
# Time to wait for another process that is writing the report.
LOCK_SECONDS = 120


@contextmanager
def lock_report(folder: Path) -> Iterator[None]:
    """Create the folder and hold a lock on its report, so that only one process changes it at a time.

    Raises FRExError where something cannot be written within the block, or the lock is not free in time.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f'.{REPORT}.lock', timeout=LOCK_SECONDS):
            yield
    except (OSError, NotImplementedError, Timeout) as error:
        raise FRExError(f'{folder / REPORT}: cannot be written ({error})') from None


def read_report(folder: Path) -> Report:
    """Read the report in `folder`, or return an empty one where there is none; raise FRExError where the file is not a report."""
    path = folder / REPORT
    try:
        return msgspec.json.decode(read_regular(path), type=Report)
    except MissingFileError:
        return Report(version=1)
    except (OSError, FRExError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        reason = one_line(str(error))
        raise FRExError(f'{path}: not a report of this program ({reason}); move it away, or give another --output') from None


def write_report(folder: Path, report: Report) -> None:
    """Write the report to `folder`; to be called within `lock_report`."""
    with write_atomically(folder / REPORT) as part:
        part.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))


def merge_records(report: Report, run_id: str, process: int, run: Run, records: Sequence[ImageRecord], finished: bool) -> None:
    """Add the records of process number `process` of the run `run_id` to `report`, in place.

    `finished` says that the process has handled all of its images. `run` describes this process alone; its images are counted here, from
    `records`. A process that has finished before is not counted again.
    """
    known = report.runs.get(run_id) or msgspec.structs.replace(run, finished=[], images=dict.fromkeys(STATUSES, 0), faces=0, skipped={})
    if process in known.finished:
        return
    known.started, known.ended = min(known.started, run.started), max(known.ended, run.ended)
    known.passed_over |= run.passed_over
    known.finished = sorted({*known.finished, process}) if finished else known.finished
    images = {record.input: record for record in report.images}
    owners = {file: record.input for record in report.images for file in list_results(record)}
    for record in records:
        record.run = run_id
        _count_record(known, record)
        if record.status != 'skipped' or record.input not in images:
            images[record.input] = record
        # Files that were overwritten no longer belong to another image.
        for other in {owners.get(file, record.input) for file in list_results(record)} - {record.input}:
            images.pop(other, None)
    report.images = sorted(images.values(), key=lambda record: record.input)
    used = {record.run for record in report.images}
    runs = report.runs | {run_id: known}
    # Finished runs of which no record is left are dropped, such as those that skipped all images.
    report.runs = {name: one for name, one in runs.items() if name == run_id or name in used or len(one.finished) < one.processes}


def _count_record(run: Run, record: ImageRecord) -> None:
    run.images[record.status] += 1
    if record.status == 'restored':
        run.faces += sum(face.reason is None for face in record.faces)
    if record.status == 'skipped' and record.reason is not None:
        run.skipped = dict(Counter(run.skipped) + Counter([record.reason]))


# Most images that the summary lists under each status.
MOST_LISTED = 20
LEFT_NOTE = re.compile(r'face \d+ is left as it is')
SKIPPED_HINT = 'results are there; --exist overwrite or rename restores again'


def summarize_run(report: Report, run: str) -> list[str]:
    """Return the lines of a run's summary: a table of counts, lists of images without a face, with faces left, and failed, and notes."""
    counts, faces = report.runs[run].images, report.runs[run].faces
    remarks = {'restored': f'{faces} face{"s" * (faces != 1)}', 'skipped': SKIPPED_HINT if counts['skipped'] else ''}
    rows = [[status, str(number), remarks.get(status, '')] for status, number in counts.items()]
    records = [record for record in report.images if record.run == run]
    skipped = [f'skipped: {number} {reason}' for reason, number in report.runs[run].skipped.items()]
    lists = (_list_images(heading, records) for heading in ('no face', 'left', 'failed'))
    return [*in_columns(rows), *skipped, *chain.from_iterable(lists), *_list_notes(records)]


def _list_notes(records: Sequence[ImageRecord]) -> Iterator[str]:
    """Yield a line for each kind of note, with the number of images that have it and the first of them; numbers in it may differ."""
    kinds: dict[str, tuple[int, str, str]] = {}
    for record in records:
        # Faces that are left are listed as such.
        notes = [note for note in record.notes if not LEFT_NOTE.match(note)]
        for kind, note in {re.sub(r'\d+', '#', note): note for note in notes}.items():
            number, first, text = kinds.get(kind, (0, record.input, note))
            kinds[kind] = number + 1, first, text
    listed = sorted(kinds.values(), key=lambda one: -one[0])
    for number, first, text in listed[:MOST_LISTED]:
        yield f'note: {f"{number} images, such as " * (number > 1)}{one_line(first)}: {one_line(text)}'
    if len(listed) > MOST_LISTED:
        yield f'note: {len(listed) - MOST_LISTED} more kinds, see the report'


def _list_images(heading: str, records: Sequence[ImageRecord]) -> Iterator[str]:
    """Yield a line for each of the first images under a heading, with the reason, and one with the number of the others."""
    listed = [(record, reason) for record in records if (reason := _reason_under(heading, record)) is not None]
    for record, reason in listed[:MOST_LISTED]:
        # Many messages begin with the name of their file.
        text = reason.removeprefix(record.input).removeprefix(': ')
        yield f'{heading}: {one_line(record.input)}{": " * bool(text)}{text}'
    if len(listed) > MOST_LISTED:
        yield f'{heading}: {len(listed) - MOST_LISTED} more, see the report'


def _reason_under(heading: str, record: ImageRecord) -> str | None:
    """Return why an image is listed under a heading, a status or `left`; None where it is not.

    Under `left` are restored images of which some faces stay as they were.
    """
    if heading == 'left' and record.status == 'restored':
        reasons = [face.reason for face in record.faces if face.reason is not None]
        return f'{len(reasons)} of {len(record.faces)} faces as they were: {reasons[0]}' if reasons else None
    return (record.reason or '') if record.status == heading else None

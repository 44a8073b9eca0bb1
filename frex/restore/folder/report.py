"""`report.json`: what became of each image and face. Several processes, and several runs, write one file.

Its keys stay as they are while `version` is 1. Places are in pixels of the upright image, angles in degrees, times in
seconds, files relative to the folder of the report; what is not known is null.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec
from filelock import FileLock, Timeout
from msgspec import Struct, field

from frex.errors import FRExError, one_line
from frex.utils.files import replacing

Status = Literal['restored', 'no face', 'skipped', 'failed']
STATUSES: tuple[Status, ...] = ('restored', 'no face', 'skipped', 'failed')


class FaceRecord(Struct, kw_only=True):
    """A face: `box` is left, top, right, bottom; `landmarks` are eyes, nose, corners of the mouth.

    `size` is the side of the aligned square in the image. `yaw` and `pitch` are those of the network's camera, in EG3D's
    crop. `identity_similarity` compares the face before and after: a cosine, 1 for the same. Without a `reason` the face
    is restored. `files` are its results by their folders. Of aligned input box, score and landmarks are null.
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


class PictureRecord(Struct, kw_only=True):
    """An image: `status` is restored, no face, skipped (its results were there) or failed.

    `reason` says why it failed, or what there is to say of results that were there. `width` and `height` are those of the
    input. `output` is the image in `restored_imgs`. `seconds` has the stages read, detect, restore and write; restore is
    the network's time on the batches, shared among their faces. `notes` are what was lost on the way, as alpha in a jpg.
    `run` is a key of the report's `runs`.
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
    """One call of the command, of `processes` processes; `finished` are the ranks that have come to their end.

    `pictures` counts by status, `skipped` by what there is to say of results that were there; `settings` are the flags. Times
    are seconds since 1970.
    """

    settings: dict[str, str | float | bool | list[str] | None] = {}
    started: float
    ended: float
    processes: int = 1
    finished: list[int] = []
    pictures: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STATUSES, 0))
    faces: int = 0
    skipped: dict[str, int] = {}


class Report(Struct, kw_only=True):
    """The whole file. `pictures` are sorted by `input`, an absolute path; each has the record of its last run that did not skip it."""

    version: Literal[1]
    runs: dict[str, Run] = {}
    pictures: list[PictureRecord] = []


def is_complete(run: Run) -> bool:
    """Whether all processes of a run have come to their end."""
    return len(run.finished) >= run.processes


def results_of(record: PictureRecord) -> Iterator[str]:
    """The files by which an image's results are known: the restored image and faces."""
    if record.output is not None:
        yield record.output
    yield from (face.files['restored_faces'] for face in record.faces if 'restored_faces' in face.files)


def absolute(path: Path) -> str:
    """As the report names an input; links are not followed."""
    return as_text(os.path.abspath(path))


def as_text(name: str) -> str:
    """A name that is no text is written as what Python shows of it: JSON has no such characters."""
    return name.encode(errors='backslashreplace').decode()


REPORT = 'report.json'
LOCK_SECONDS = 120


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Only one process at a time is in here; makes the folder. Raises FRExError for what cannot be written in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f'.{REPORT}.lock', timeout=LOCK_SECONDS):
            yield
    except (OSError, NotImplementedError, Timeout) as error:
        raise FRExError(f'{folder / REPORT}: cannot be written ({error})') from None


def read_report(folder: Path) -> Report:
    """An empty one where there is none; raises FRExError where the file is none of this program's."""
    path = folder / REPORT
    try:
        return msgspec.json.decode(path.read_bytes(), type=Report)
    except FileNotFoundError:
        return Report(version=1)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        reason = one_line(str(error))
        raise FRExError(f'{path}: not a report of this program ({reason}); move it away, or give another --output') from None


def write_report(folder: Path, report: Report) -> None:
    """To be called in `locked`."""
    with replacing(folder / REPORT) as part:
        part.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))


def join(report: Report, word: str, process: int, run: Run, records: Sequence[PictureRecord], finished: bool) -> None:
    """Add to `report` what process number `process` of the run called `word` did; `finished`: it has come to its end.

    `run` tells of this process alone; the report counts `records`. One that is finished already is not counted again.
    """
    known = report.runs.get(word) or msgspec.structs.replace(run, finished=[], pictures=dict.fromkeys(STATUSES, 0), faces=0, skipped={})
    if process in known.finished:
        return
    known.started, known.ended = min(known.started, run.started), max(known.ended, run.ended)
    known.finished = sorted({*known.finished, process}) if finished else known.finished
    pictures = {record.input: record for record in report.pictures}
    owners = {file: record.input for record in report.pictures for file in results_of(record)}
    for record in records:
        record.run = word
        _count(known, record)
        if record.status != 'skipped' or record.input not in pictures:
            pictures[record.input] = record
        # What was written over is another image's no more.
        for other in {owners.get(file, record.input) for file in results_of(record)} - {record.input}:
            pictures.pop(other, None)
    report.pictures = sorted(pictures.values(), key=lambda record: record.input)
    used = {record.run for record in report.pictures}
    runs = report.runs | {word: known}
    # Runs that only skipped, day after day, are not kept.
    report.runs = {name: one for name, one in runs.items() if name == word or name in used or len(one.finished) < one.processes}


def _count(run: Run, record: PictureRecord) -> None:
    run.pictures[record.status] += 1
    if record.status == 'restored':
        run.faces += sum(face.reason is None for face in record.faces)
    if record.status == 'skipped' and record.reason is not None:
        run.skipped = dict(Counter(run.skipped) + Counter([record.reason]))

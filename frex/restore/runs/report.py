"""`report.json`: what became of each picture and face. Several processes, and several runs, write one file.

Its keys stay as they are while `version` is 1. Places are in pixels of the upright picture, angles in degrees, times in
seconds, files relative to the folder of the report; what is not known is null.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec
from filelock import FileLock, Timeout
from msgspec import Struct, field

from frex.errors import FRExError, one_line
from frex.files import replacing
from frex.restore.runs.shards import Shard

REPORT = 'report.json'
LOCK_SECONDS = 120

Status = Literal['restored', 'no face', 'skipped', 'failed']
STATUSES: tuple[Status, ...] = ('restored', 'no face', 'skipped', 'failed')


class FaceRecord(Struct, kw_only=True):
    """A face: `box` is left, top, right, bottom; `landmarks` are eyes, nose, corners of the mouth.

    `size` is the side of the aligned square in the picture. `yaw` and `pitch` are those of the network's camera, in EG3D's
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
    """A picture: `status` is restored, no face, skipped (its results were there) or failed, then with a `reason`.

    `width` and `height` are those of the input. `output` is the picture in `restored_imgs`. `seconds` has the stages read,
    detect, restore and write; restore is the network's time on the batches, shared among their faces. `notes` are what
    was lost on the way, as alpha in a jpg. `run` is a key of the report's `runs`.
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

    `pictures` counts by status; `settings` are the flags. Times are seconds since 1970.
    """

    settings: dict[str, str | float | bool | list[str] | None] = {}
    started: float
    ended: float
    processes: int = 1
    finished: list[int] = []
    pictures: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STATUSES, 0))
    faces: int = 0


class Report(Struct, kw_only=True):
    """The whole file. `pictures` are sorted by `input`, an absolute path; each has the record of its last run that did not skip it."""

    version: Literal[1]
    runs: dict[str, Run] = {}
    pictures: list[PictureRecord] = []


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


def add_to_report(folder: Path, shard: Shard, run: Run, records: Sequence[PictureRecord], finished: bool) -> Report:
    """Add what one process did since its last call; its answer is the report as it now stands.

    `run` counts what `records` say, if the run is another's too. Raises FRExError where the file cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f'.{REPORT}.lock', timeout=LOCK_SECONDS):
            report = read_report(folder)
            _join(report, shard, run, records, finished)
            with replacing(folder / REPORT) as part:
                part.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))
            return report
    except (OSError, NotImplementedError, Timeout) as error:
        raise FRExError(f'{folder / REPORT}: cannot be written ({error})') from None


def _join(report: Report, shard: Shard, run: Run, records: Sequence[PictureRecord], finished: bool) -> None:
    known = report.runs.get(shard.run)
    if known is None or shard.rank in known.finished:
        # The second is an earlier run, of which torchrun said the same words.
        known = msgspec.structs.replace(run, finished=[], pictures=dict.fromkeys(STATUSES, 0), faces=0)
    known.started, known.ended = min(known.started, run.started), max(known.ended, run.ended)
    known.finished = sorted({*known.finished, shard.rank}) if finished else known.finished
    pictures = {record.input: record for record in report.pictures}
    for record in records:
        record.run = shard.run
        known.pictures[record.status] += 1
        known.faces += sum(face.reason is None for face in record.faces) if record.status == 'restored' else 0
        if record.status != 'skipped' or record.input not in pictures:
            pictures[record.input] = record
    report.pictures = sorted(pictures.values(), key=lambda record: record.input)
    used = {record.run for record in report.pictures}
    runs = report.runs | {shard.run: known}
    # Runs that only skipped, day after day, are not kept.
    report.runs = {name: one for name, one in runs.items() if name == shard.run or name in used or len(one.finished) < one.processes}


def is_complete(run: Run) -> bool:
    """Whether all processes of a run have come to their end."""
    return len(run.finished) >= run.processes


def absolute(path: Path) -> str:
    """As the report names an input; links are not followed."""
    # A name that is no text is written as what Python shows of it: JSON has no such characters.
    return os.path.abspath(path).encode(errors='backslashreplace').decode()

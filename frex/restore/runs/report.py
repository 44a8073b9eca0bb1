"""`report.json`: what became of each picture and face. Several processes, and several runs, write one file.

Its keys stay as they are while `version` is 1. Places are in pixels of the upright picture, angles in degrees, times in
seconds, files relative to the folder of the report; what is not known is null.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from msgspec import Struct, field

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
    """A picture: `status` is restored, no face, skipped (its results were there) or failed.

    `reason` says why it failed, or what there is to say of results that were there. `width` and `height` are those of the
    input. `output` is the picture in `restored_imgs`. `seconds` has the stages read, detect, restore and write; restore is
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
    """The files by which a picture's results are known: the restored picture and faces."""
    if record.output is not None:
        yield record.output
    yield from (face.files['restored_faces'] for face in record.faces if 'restored_faces' in face.files)


def absolute(path: Path) -> str:
    """As the report names an input; links are not followed."""
    return as_text(os.path.abspath(path))


def as_text(name: str) -> str:
    """A name that is no text is written as what Python shows of it: JSON has no such characters."""
    return name.encode(errors='backslashreplace').decode()

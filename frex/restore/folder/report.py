"""The content of `report.json`: the runs, and the result of each image, film and face; and the lock under which the file is changed.

Several processes and several runs write to the same file. Its keys do not change while `version` is 1. Coordinates are pixels of the
upright image, angles are in degrees, times in seconds, and files relative to the folder of the report. Unknown values are null.
Only restored faces are counted. While an image is restored, its record already says that it was interrupted, and names the files that it
will write, so that no other input takes them, and the record is right where the process is killed.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout
from msgspec import Struct, field

from frex.errors import FRExError, one_line
from frex.restore.film.records import FilmRecord

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
    """The record of an image. `status` is restored, no face, skipped (its results exist, or another run makes them) or failed.

    `reason` says why it failed, why none of its faces can be restored, or what is special about results that are skipped. `width` and
    `height` are those of the input. `output` is the file in `restored_imgs` or, for films, `restored_videos`; it is null for an aligned
    input. `seconds` holds the times of the stages read, detect, restore and write; restore is the sum over the image's faces, each of
    which has an equal part of its batch's time. `notes` lists what a result does not keep, such as alpha in a jpg. `run` is a key of the
    report's `runs`. `film` is null for an image; for a film and for a folder of frames it takes the place of `faces`.
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
    film: FilmRecord | None = None
    run: str = ''


class Run(Struct, kw_only=True):
    """One call of the command, in `processes` processes; `finished` lists the numbers of those that have handled all their images.

    `images`, which the file calls `pictures`, counts images by status, `faces` counts restored faces, and `skipped` counts skipped images
    by their reason, where they have one. `passed_over` holds the files in input folders that are not images, by absolute names, with the
    reason. `settings` are the options by their names. `started` and `ended` are seconds since 1970.
    """

    settings: dict[str, str | int | float | bool | list[str] | None] = {}
    started: float
    ended: float
    processes: int = 1
    finished: list[int] = []
    images: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STATUSES, 0), name='pictures')
    faces: int = 0
    skipped: dict[str, int] = {}
    passed_over: dict[str, str] = {}


class Report(Struct, kw_only=True):
    """The content of the file. `runs` holds the runs by their ids.

    `images`, which the file calls `pictures`, holds one record for each image: that of the last run that did not skip it, or of the first
    run where all skipped it. The records are sorted by `input`, which is an absolute path.
    """

    version: Literal[1]
    runs: dict[str, Run] = {}
    images: list[ImageRecord] = field(default_factory=list, name='pictures')


def is_complete(run: Run) -> bool:
    """Return whether all processes of a run have handled all their images."""
    return len(run.finished) >= run.processes


def count_faces(record: ImageRecord) -> int:
    """Return the number of restored faces of an image, or of a film the number of those that were followed and restored."""
    if record.film is not None:
        return sum(track.restored > 0 for track in record.film.tracks)
    return sum(face.reason is None for face in record.faces)


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


# The reason in the record of an image that a process has begun. It is written before the image's first result, and replaced at its end.
INTERRUPTED = 'its run was killed before it was finished; the same command restores it'


def make_interrupted_record(path: Path, output: str | None, face: str | None) -> ImageRecord:
    """Return the record of the input `path` while it is restored, by which it owns the result files `output` and `face`.

    `output` is the restored image or film, `face` its first restored face, both relative to the report; None where there is none.
    """
    faces = [] if face is None else [FaceRecord(reason=INTERRUPTED, files={'restored_faces': face})]
    return ImageRecord(input=absolute_name(path), status='failed', reason=INTERRUPTED, output=output, faces=faces)


def is_interrupted(record: ImageRecord) -> bool:
    """Return whether a record is one of `make_interrupted_record`."""
    return record.reason == INTERRUPTED


REPORT = 'report.json'
# Time to wait for another process that is writing the report, and the time between two attempts.
LOCK_SECONDS, POLL_SECONDS = 120, 0.005


@contextmanager
def lock_report(folder: Path) -> Iterator[None]:
    """Create the folder and hold a lock on its report for the block, so that only one process changes the report at a time.

    Raises FRExError where the lock is not free within LOCK_SECONDS. An OSError or an error of SQLite within the block becomes FRExError.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f'.{REPORT}.lock', timeout=LOCK_SECONDS).acquire(poll_interval=POLL_SECONDS):
            yield
    except (OSError, NotImplementedError, Timeout, sqlite3.Error) as error:
        raise FRExError(f'{folder / REPORT}: cannot be written ({error})') from None

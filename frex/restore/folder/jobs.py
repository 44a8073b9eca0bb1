"""What is done with each image of a run, be it a photograph or an aligned face."""

import errno
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import PIL.Image

from frex.errors import FRExError, one_line
from frex.images import Image, resize
from frex.restore.faces.batches import with_memory
from frex.restore.faces.details import structure_pictures, weights_map
from frex.restore.faces.photo import Face
from frex.restore.faces.restore_options import RestoreOptions
from frex.restore.faces.restorer import FaceRestorer
from frex.restore.faces.results import Restoration, degrees
from frex.restore.folder.inputs import Input
from frex.restore.folder.journal import Journal
from frex.restore.folder.outputs import Results
from frex.restore.folder.report import FaceRecord, PictureRecord, absolute
from frex.restore.folder.threaded_pipeline import PipelineStages
from frex.restore.image_io.photo_file import Metadata, Picture, write_picture
from frex.utils.signals import Stop

# With these, writing anything else would fail as well.
FINAL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)

Unit = TypeVar('Unit', Face, Image)


class Job(NamedTuple):
    """An image, and where its results go."""

    item: Input
    results: Results


@dataclass(frozen=True, eq=False)
class LoadedImage(Generic[Unit]):
    """An image in memory, and its faces as the network is to see them."""

    job: Job
    picture: Picture
    faces: Sequence[Unit]
    seconds: dict[str, float]


class Restored(NamedTuple):
    """A face's restoration, its share of the network's time, and other images of it by the names of their folders."""

    restoration: Restoration
    seconds: float
    details: dict[str, Image]


class RestoreJobs(PipelineStages[Job, Unit, Restored, PictureRecord], Generic[Unit]):
    """What both kinds of images have in common."""

    def __init__(self, restorer: FaceRestorer, journal: Journal, wishes: RestoreOptions, stop: Stop) -> None:
        self.restorer, self.journal, self.wishes, self.stop = restorer, journal, wishes, stop

    def bytes_of(self, job: Job) -> float:
        """By the header; endless where that tells nothing, so that the image is held alone."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore', PIL.Image.DecompressionBombWarning)
                with PIL.Image.open(job.item.path) as image:
                    return float(3 * image.width * image.height * (1 + self.wishes.upscale**2))
        # What damaged bytes make Pillow raise is no closed list; reading the image will tell.
        except Exception:
            return float('inf')

    def done(self, job: Job, record: PictureRecord) -> None:
        """Keep the record."""
        self.journal.add(record)

    def failed(self, job: Job, error: Exception) -> None:
        """Keep the reason; stop where nothing could be written any more."""
        self.journal.add(failure(job.item, error))
        number = final_error(error)
        if number is not None:
            self.stop.ask(1, f'nothing more can be written ({errno.errorcode[number]}); afterwards the same command goes on from here')

    def _timed(self, restore: Callable[[], list[Restoration]]) -> list[Restored]:
        start = time.perf_counter()
        restorations = restore()
        detailed = [self._with_details(restoration) for restoration in restorations]
        share = (time.perf_counter() - start) / max(1, len(restorations))
        return [Restored(restoration, share, pictures) for restoration, pictures in detailed]

    def _with_details(self, restoration: Restoration) -> tuple[Restoration, dict[str, Image]]:
        """What the images were made of is no longer held; a face whose images cannot be made fails."""
        try:
            return replace(restoration, output=None), with_memory(lambda: self._details(restoration))
        except (RuntimeError, ValueError) as error:
            return Restoration(problem=one_line(f'its further images could not be made ({error})')), {}

    def _details(self, restoration: Restoration) -> dict[str, Image]:
        if restoration.output is None:
            return {}
        structure = structure_pictures(self.restorer.net, restoration.output) if self.wishes.save_3d else {}
        weights = weights_map(self.restorer.net, restoration.output) if self.wishes.save_weights_map else {}
        return structure | weights


def record_of(reading: LoadedImage[Unit], restored: Sequence[Restored]) -> PictureRecord:
    """An image whose faces are back, as far as that is known before it is written."""
    height, width = reading.picture.image.shape[:2]
    return PictureRecord(
        input=absolute(reading.job.item.path),
        status='restored',
        width=width,
        height=height,
        seconds=reading.seconds | {'restore': sum(one.seconds for one in restored)},
        notes=list(reading.picture.notes),
    )


def face_record(restored: Restored) -> FaceRecord:
    """What the network says of a face."""
    restoration = restored.restoration
    yaw, pitch = (None, None) if restoration.camera is None else degrees(restoration.camera)
    return FaceRecord(yaw=yaw, pitch=pitch, identity_similarity=restoration.identity_similarity, reason=restoration.problem)


def write_face(
    reading: LoadedImage[Unit],
    number: int,
    aligned: Image,
    restored: Restored,
    metadata: Metadata | None = None,
) -> tuple[FaceRecord, list[str]]:
    """Write a face before, after, and both side by side, then its details; nothing of one that is not restored.

    `metadata` is the face's own, where the image shows nothing else. The restored one comes last: where it is, all are.
    Answers with the record, and what the files could not hold.
    """
    record = face_record(restored)
    notes: list[str] = []
    face = restored.restoration.image
    if face is None:
        return record, notes
    before = resize(aligned, face.shape[0])
    results, picture = reading.job.results, reading.picture
    images = {'cropped_faces': before, 'cmp': np.hstack([before, face]), **restored.details, 'restored_faces': face}
    # The pixels are in the image's colours; what else a photograph's metadata says is not of one face.
    metadata = metadata or Metadata(icc=picture.metadata.icc)
    for folder, image in images.items():
        path = results.face(folder, number)
        own = Picture(image, None, False, Metadata(None, None))
        said = write_picture(path, own if folder in restored.details else Picture(image, None, picture.grey, metadata))
        notes += [note for note in said if note not in notes]
        record.files[folder] = relative(path, results.folder)
    return record, notes


def relative(path: Path, folder: Path) -> str:
    """A result's name in the report."""
    return path.relative_to(folder).as_posix().encode(errors='backslashreplace').decode()


def failure(item: Input, error: Exception) -> PictureRecord:
    """The record of an image that a stage could not do."""
    reason = str(error) if isinstance(error, FRExError) else one_line(f'{type(error).__name__}: {error}')
    return PictureRecord(input=absolute(item.path), status='failed', reason=reason)


def final_error(error: BaseException | None) -> int | None:
    """The number of what lets no further writing succeed, if that is behind `error`."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FINAL:
            return error.errno
        error = error.__cause__ or error.__context__
    return None

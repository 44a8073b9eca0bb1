"""The pipeline's stages that photographs and aligned faces have in common, and the writing of faces."""

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
from frex.restore.faces.batches import retry_out_of_memory
from frex.restore.faces.details import render_alpha_maps, render_structure
from frex.restore.faces.photo import Face
from frex.restore.faces.restorer import FaceRestorer
from frex.restore.faces.results import Restoration, view_degrees
from frex.restore.folder.inputs import Input
from frex.restore.folder.journal import Journal
from frex.restore.folder.options import RestoreOptions
from frex.restore.folder.outputs import Results
from frex.restore.folder.report import FaceRecord, ImageRecord, absolute_name
from frex.restore.folder.threaded_pipeline import PipelineStages
from frex.restore.image_io.photo_file import Metadata, Photo, write_photo
from frex.utils.signals import Stop

# Errors after which every further write would fail as well: the disk is full, the quota is used up, or the disk is read-only.
FATAL_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)

Unit = TypeVar('Unit', Face, Image)


class Job(NamedTuple):
    """An input image, and the files of its results."""

    item: Input
    results: Results


@dataclass(frozen=True, eq=False)
class LoadedImage(Generic[Unit]):
    """An image in memory with its faces, cut out for the network. `seconds` are the times of the stages so far."""

    job: Job
    photo: Photo
    faces: Sequence[Unit]
    seconds: dict[str, float]


class TimedRestoration(NamedTuple):
    """The restoration of a face, its part of the batch's time in seconds, and its detail images by the names of their folders."""

    restoration: Restoration
    seconds: float
    details: dict[str, Image]


class RestoreJobs(PipelineStages[Job, Unit, TimedRestoration, ImageRecord], Generic[Unit]):
    """The stages that do not depend on the kind of image; subclasses add the others."""

    def __init__(self, restorer: FaceRestorer, journal: Journal, options: RestoreOptions, stop: Stop) -> None:
        self.restorer, self.journal, self.options, self.stop = restorer, journal, options, stop

    def bytes_of(self, job: Job) -> float:
        """Estimate the memory of an image and its result from the file's header.

        It is infinite where the header cannot be read; then no other image is in memory at the same time.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore', PIL.Image.DecompressionBombWarning)
                with PIL.Image.open(job.item.path) as image:
                    return float(3 * image.width * image.height * (1 + self.options.upscale**2))
        # Pillow raises exceptions of many classes on damaged bytes. Reading the image will report the reason.
        except Exception:
            return float('inf')

    def done(self, job: Job, record: ImageRecord) -> None:
        """Add the record of an image that is written to the journal."""
        self.journal.add(record)

    def failed(self, job: Job, error: Exception) -> None:
        """Add the record of an image that failed to the journal; stop the run where every further write would fail as well."""
        self.journal.add(make_failure_record(job.item, error))
        number = find_fatal_errno(error)
        if number is not None:
            self.stop.request(1, f'nothing more can be written ({errno.errorcode[number]}); afterwards the same command goes on from here')

    def _timed(self, restore: Callable[[], list[Restoration]]) -> list[TimedRestoration]:
        start = time.perf_counter()
        restorations = restore()
        detailed = [self._with_details(restoration) for restoration in restorations]
        seconds = (time.perf_counter() - start) / max(1, len(restorations))
        return [TimedRestoration(restoration, seconds, images) for restoration, images in detailed]

    def _with_details(self, restoration: Restoration) -> tuple[Restoration, dict[str, Image]]:
        """Render the detail images of a face, and drop the network's output to free memory; a face fails where they cannot be made."""
        try:
            return replace(restoration, output=None), retry_out_of_memory(lambda: self._details(restoration))
        except (RuntimeError, ValueError) as error:
            return Restoration(problem=one_line(f'its further images could not be made ({error})')), {}

    def _details(self, restoration: Restoration) -> dict[str, Image]:
        if restoration.output is None:
            return {}
        structure = render_structure(self.restorer.net, restoration.output) if self.options.save_3d else {}
        alphas = render_alpha_maps(self.restorer.net, restoration.output) if self.options.save_weights_map else {}
        return structure | alphas


def start_record(loaded: LoadedImage[Unit], restored: Sequence[TimedRestoration]) -> ImageRecord:
    """Return the record of an image whose faces are restored, without what is only known when its results are written."""
    height, width = loaded.photo.image.shape[:2]
    return ImageRecord(
        input=absolute_name(loaded.job.item.path),
        status='restored',
        width=width,
        height=height,
        seconds=loaded.seconds | {'restore': sum(one.seconds for one in restored)},
        notes=list(loaded.photo.notes),
    )


def make_face_record(restored: TimedRestoration) -> FaceRecord:
    """Return the record of a face, with what the network says of it."""
    restoration = restored.restoration
    yaw, pitch = (None, None) if restoration.camera is None else view_degrees(restoration.camera)
    return FaceRecord(yaw=yaw, pitch=pitch, identity_similarity=restoration.identity_similarity, reason=restoration.problem)


def write_face(
    loaded: LoadedImage[Unit],
    number: int,
    aligned: Image,
    restored: TimedRestoration,
    metadata: Metadata | None = None,
) -> tuple[FaceRecord, list[str]]:
    """Write a face before, after, and both side by side, and its detail images; write nothing of a face that is not restored.

    `metadata` is written to the files where the image shows only this face; by default they get the image's colour profile alone. The
    restored face is written last, so that its presence means that all files are there. Returns the record of the face, and notes on
    what the files cannot hold.
    """
    record = make_face_record(restored)
    notes: list[str] = []
    face = restored.restoration.image
    if face is None:
        return record, notes
    before = resize(aligned, face.shape[0])
    results, photo = loaded.job.results, loaded.photo
    images = {'cropped_faces': before, 'cmp': np.hstack([before, face]), **restored.details, 'restored_faces': face}
    # The colour profile applies to the face's pixels too. The rest of a photograph's metadata does not describe one face.
    metadata = metadata or Metadata(icc=photo.metadata.icc)
    for folder, image in images.items():
        path = results.face(folder, number)
        is_detail = folder in restored.details
        face_photo = Photo(image, None, False, Metadata(None, None)) if is_detail else Photo(image, None, photo.grey, metadata)
        notes += [note for note in write_photo(path, face_photo) if note not in notes]
        record.files[folder] = relative_name(path, results.folder)
    return record, notes


def relative_name(path: Path, folder: Path) -> str:
    """Return the path of a result relative to the output folder, as the report writes it."""
    return path.relative_to(folder).as_posix().encode(errors='backslashreplace').decode()


def make_failure_record(item: Input, error: Exception) -> ImageRecord:
    """Return the record of an image that failed with `error`."""
    reason = str(error) if isinstance(error, FRExError) else one_line(f'{type(error).__name__}: {error}')
    return ImageRecord(input=absolute_name(item.path), status='failed', reason=reason)


def find_fatal_errno(error: BaseException | None) -> int | None:
    """Return the errno of the FATAL_ERRORS that caused `error`, directly or not; None where none of them did."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FATAL_ERRORS:
            return error.errno
        error = error.__cause__ or error.__context__
    return None

"""The stages through which each image of a run goes: read it and find its faces, restore these, and write the results.

`Photographs` is what `frex restore` does, `AlignedFaces` what it does with `--aligned`.
"""

import time
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from frex.errors import FRExError, one_line
from frex.heads.codes import encode_head, head_of
from frex.heads.files import FILM, MESHES, encode_files
from frex.images import Image, resize
from frex.restore.detection.align import scale_of
from frex.restore.faces.batches import retry_out_of_memory
from frex.restore.faces.details import render_alpha_maps, render_structure
from frex.restore.faces.photo import Face, Upsampler
from frex.restore.faces.restorer import FaceRestorer
from frex.restore.faces.results import Restoration
from frex.restore.folder.notes import describe_unusable, list_losses, list_notes, note_untrained_prior
from frex.restore.folder.options import RestoreOptions
from frex.restore.folder.outputs import CODES, remove_stale_faces
from frex.restore.folder.planning import Job
from frex.restore.folder.report import FaceRecord, ImageRecord, absolute_name, relative_name
from frex.restore.folder.threaded_pipeline import PipelineStages
from frex.restore.image_io.color_modes import to_eight_bit
from frex.restore.image_io.headers import open_image
from frex.restore.image_io.metadata import Metadata
from frex.restore.image_io.photo_file import Photo, read_photo, scaled_size, write_photo
from frex.restore.image_io.pillow_warnings import collect_warnings
from frex.utils.files import open_regular, write_bytes

# What the network restores: a face of a photograph, or the image of an aligned face.
Unit = TypeVar('Unit', Face, Image)


@dataclass(frozen=True, eq=False)
class LoadedImage(Generic[Unit]):
    """An image in memory with its faces, cut out for the network. `seconds` are the times of the stages so far."""

    job: Job
    photo: Photo
    faces: Sequence[Unit]
    seconds: dict[str, float]


class TimedRestoration(NamedTuple):
    """The restoration of a face, its part of the batch's time in seconds, and its detail images by the names of their folders.

    `head` holds the contents of the files of the recovered head that were asked for, by the names of their folders. `notes` say which of
    them could not be made.
    """

    restoration: Restoration
    seconds: float
    details: dict[str, Image]
    head: dict[str, bytes]
    notes: list[str]


class RestoreStages(PipelineStages[Job, Unit, TimedRestoration, ImageRecord], Generic[Unit]):
    """What the stages for photographs and for aligned faces have in common."""

    def __init__(self, restorer: FaceRestorer, options: RestoreOptions, upsampler: Upsampler | None = None) -> None:
        self.restorer, self.options, self.upsampler = restorer, options, upsampler

    def bytes_of(self, job: Job) -> float:
        """Estimate the memory of an image and its result from the file's header.

        It is infinite where the header cannot be read; then no other image is in memory at the same time.
        """
        try:
            with collect_warnings(), open_regular(job.item.path) as file, open_image(file, job.item.path) as image:
                return float(3 * image.width * image.height * (1 + self.options.upscale**2))
        # Pillow raises exceptions of many classes on damaged bytes. Reading the image will report the reason.
        except Exception:
            return float('inf')

    def restore(self, faces: Sequence[Unit]) -> list[TimedRestoration]:
        """Restore a batch of faces, and render their detail images."""
        start = time.perf_counter()
        detailed = [self._with_details(restoration) for restoration in self.restore_batch(faces)]
        seconds = (time.perf_counter() - start) / max(1, len(detailed))
        return [TimedRestoration(restoration, seconds, images, head, notes) for restoration, images, head, notes in detailed]

    @abstractmethod
    def restore_batch(self, faces: Sequence[Unit]) -> list[Restoration]:
        """Run the network on a batch of faces."""

    def _with_details(self, restoration: Restoration) -> tuple[Restoration, dict[str, Image], dict[str, bytes], list[str]]:
        """Render the detail images of a face, and drop the network's output to free memory; a face fails where they cannot be made."""
        try:
            details = retry_out_of_memory(lambda: self._details(restoration))
            head, notes = retry_out_of_memory(lambda: self._head(restoration))
            return replace(restoration, output=None), details, head, notes
        except (RuntimeError, ValueError) as error:
            return Restoration(problem=one_line(f'its further images could not be made ({error})')), {}, {}, []

    def _head(self, restoration: Restoration) -> tuple[dict[str, bytes], list[str]]:
        head = head_of(restoration.output) if self.options.save_3d and restoration.output is not None else None
        eg3d = None if head is None else self.restorer.net.eg3d
        if head is None or eg3d is None:
            return {}, []
        files, notes = {CODES: encode_head(head, eg3d)}, []
        # A film can be made of every head, a mesh only of one that has a surface.
        for kind, formats in (('film', (FILM,)), ('mesh', MESHES)):
            try:
                made = encode_files(eg3d, head, [name for name in formats if name in self.options.save_head])
            except FRExError as error:
                notes.append(f'no {kind} of the head: {error}')
            else:
                files |= {f'heads_{name}': content for name, content in made.items()}
        return files, notes

    def _details(self, restoration: Restoration) -> dict[str, Image]:
        if restoration.output is None:
            return {}
        structure = render_structure(self.restorer.net, restoration.output) if self.options.save_3d else {}
        alphas = render_alpha_maps(self.restorer.net, restoration.output) if self.options.save_weights_map else {}
        return structure | alphas


class Photographs(RestoreStages[Face]):
    """The stages for photographs. The restored image is written last, so that its presence means that all results are there."""

    def prepare(self, job: Job) -> LoadedImage[Face]:
        """Read a photograph and find its faces."""
        start = time.perf_counter()
        photo = read_photo(job.item.path)
        # Raises FRExError where the result would be too large, before the network has run.
        scaled_size(photo, self.options.upscale)
        read = time.perf_counter()
        faces = self.restorer.find_faces(photo, self.options.selection, self.options.force)
        return LoadedImage(job, photo, faces, {'read': read - start, 'detect': time.perf_counter() - read})

    def restore_batch(self, faces: Sequence[Face]) -> list[Restoration]:
        """Restore faces; those with a problem and those that stay as they are do not go through the network."""
        options = self.options
        return self.restorer.restore_found(faces, options.fidelity_weight, options.structure_weight, details=options.details)

    def finish(self, loaded: LoadedImage[Face], restored: Sequence[TimedRestoration]) -> ImageRecord:
        """Write the faces and the restored image, and return the record of the image.

        Faces with a problem, such as unusable landmarks, or with more detail than a result has, stay as they are; an image of which all
        faces have a problem is written as one without a face. Where the network failed on a face, the image is not written, so that it
        is not mistaken for a result.
        """
        start = time.perf_counter()
        record = start_record(loaded, restored)
        record.notes += list_notes(self.restorer, self.options, loaded.photo, loaded.faces, [one.restoration for one in restored])
        for number, (face, one) in enumerate(zip(loaded.faces, restored, strict=True)):
            self._write_face(loaded, number, face, one, record)
        pairs = zip(loaded.faces, restored, strict=True)
        failures = [one.restoration.problem for face, one in pairs if face.problem is None and face.keep is None]
        problems = [problem for problem in failures if problem is not None]
        if problems:
            record.status, record.reason = 'failed', f'{len(problems)} of {len(loaded.faces)} faces not restored: {problems[0]}'
        else:
            self._write_image(loaded, restored, record)
            remove_stale_faces(loaded.job.results, record)
        record.seconds['write'] = time.perf_counter() - start
        return record

    def _write_face(self, loaded: LoadedImage[Face], number: int, face: Face, one: TimedRestoration, record: ImageRecord) -> None:
        written, notes = write_face(loaded, number, face.aligned, one)
        written.box, written.landmarks = face.box.round(2).tolist(), face.landmarks.round(2).tolist()
        written.score, written.size = face.score, round(face.aligned.shape[0] / scale_of(face.matrix), 2)
        record.faces.append(written)
        if face.keep is not None:
            notes.append(f'face {number} is left as it is: {face.keep}')
        record.notes += [note for note in notes if note not in record.notes]

    def _write_image(self, loaded: LoadedImage[Face], restored: Sequence[TimedRestoration], record: ImageRecord) -> None:
        problems = [face.problem for face in loaded.faces if face.problem is not None]
        if len(problems) == len(loaded.faces):
            record.status, record.reason = 'no face', describe_unusable(problems)
            if self.options.no_face == 'skip':
                return
        restorations = [one.restoration for one in restored]
        background = self.upsampler if self.options.has_bg_upsampler else None
        enlarging = self.upsampler if self.options.face_upsample else None
        pasted = self.restorer.paste(loaded.photo, loaded.faces, restorations, self.options.upscale, background, enlarging)
        path = loaded.job.results.image
        record.notes += [note for note in write_photo(path, pasted) if note not in record.notes]
        record.output = relative_name(path, loaded.job.results.folder)


class AlignedFaces(RestoreStages[Image]):
    """The stages for images that show one face each, in FFHQ alignment. The results have the network's size."""

    def prepare(self, job: Job) -> LoadedImage[Image]:
        """Read an image and resize it to the network's size; raise FRExError where it is not square."""
        start = time.perf_counter()
        photo = read_photo(job.item.path)
        height, width = photo.image.shape[:2]
        if height != width:
            raise FRExError(f'{job.item.path}: {width} x {height} is not square: not a face in FFHQ alignment (leave out --aligned)')
        face = resize(to_eight_bit(photo.image), self.restorer.size)
        return LoadedImage(job, photo, [face], {'read': time.perf_counter() - start, 'detect': 0.0})

    def restore_batch(self, faces: Sequence[Image]) -> list[Restoration]:
        """Restore faces; the camera is estimated with the crop of a frontal face. Faces without colours of their own keep their tone."""
        options = self.options
        return self.restorer.restore_frontal(faces, options.fidelity_weight, options.structure_weight, options.details)

    def finish(self, loaded: LoadedImage[Image], restored: Sequence[TimedRestoration]) -> ImageRecord:
        """Write the restored face, and return the record of the image."""
        start = time.perf_counter()
        record = start_record(loaded, restored)
        face, notes = write_face(loaded, 0, loaded.faces[0], restored[0], loaded.photo.metadata)
        face.size = float(loaded.photo.image.shape[0])
        made = list_losses(loaded.photo, self.restorer.size) + note_untrained_prior(self.restorer, self.options, [restored[0].restoration])
        record.faces, record.notes = [face], [*record.notes, *notes, *made]
        if face.reason is not None:
            record.status, record.reason = 'failed', face.reason
        else:
            remove_stale_faces(loaded.job.results, record)
        record.seconds['write'] = time.perf_counter() - start
        return record


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
    restoration, details = restored.restoration, restored.details
    record = FaceRecord(
        yaw=restoration.yaw, pitch=restoration.pitch, identity_similarity=restoration.identity_similarity, reason=restoration.problem
    )
    notes = list(restored.notes)
    face = restoration.image
    if face is None:
        return record, notes
    before = resize(aligned, face.shape[0])
    results, photo = loaded.job.results, loaded.photo
    for folder, content in restored.head.items():
        path = results.face(folder, number)
        write_bytes(path, content)
        record.files[folder] = relative_name(path, results.folder)
    images = {'cropped_faces': before, 'cmp': np.hstack([before, face]), **details, 'restored_faces': face}
    # The colour profile applies to the face's pixels too. The rest of a photograph's metadata does not describe one face.
    metadata = metadata or Metadata(icc=photo.metadata.icc)
    for folder, image in images.items():
        path = results.face(folder, number)
        face_photo = Photo(image, None, False, Metadata()) if folder in details else Photo(image, None, photo.grey, metadata)
        notes += [note for note in write_photo(path, face_photo) if note not in notes]
        record.files[folder] = relative_name(path, results.folder)
    return record, notes

"""Restore photographs: find their faces, restore them, and paste them back. This is what `frex restore` does without `--aligned`."""

import time
from collections.abc import Sequence

from frex.restore.detection.align import scale_of
from frex.restore.faces.photo import Face
from frex.restore.folder.jobs import Job, LoadedImage, RestoreJobs, TimedRestoration, relative_name, start_record, write_face
from frex.restore.folder.outputs import remove_stale_faces
from frex.restore.folder.report import ImageRecord
from frex.restore.image_io.photo_file import read_photo, scaled_size, write_photo


class Photographs(RestoreJobs[Face]):
    """The pipeline's stages for photographs. The restored image is written last, so that its presence means that all results are there."""

    def prepare(self, job: Job) -> LoadedImage[Face]:
        """Read a photograph and find its faces."""
        start = time.perf_counter()
        photo = read_photo(job.item.path)
        # Raises FRExError where the result would be too large, before the network has run.
        scaled_size(photo, self.options.upscale)
        read = time.perf_counter()
        faces = self.restorer.find_faces(photo, self.options.selection, self.options.force)
        return LoadedImage(job, photo, faces, {'read': read - start, 'detect': time.perf_counter() - read})

    def restore(self, faces: Sequence[Face]) -> list[TimedRestoration]:
        """Restore a batch of faces; those with a problem and those that stay as they are do not go through the network."""
        options = self.options
        return self._timed(
            lambda: self.restorer.restore_found(faces, options.fidelity_weight, options.structure_weight, details=options.details)
        )

    def finish(self, loaded: LoadedImage[Face], restored: Sequence[TimedRestoration]) -> ImageRecord:
        """Write the faces and the restored image, and return the record of the image.

        Faces with unusable landmarks, or with more detail than a result has, stay as they are. Where the network failed on a face, or no
        face could be aligned, the image is not written, so that it is not mistaken for a result.
        """
        start = time.perf_counter()
        record = start_record(loaded, restored)
        for number, (face, one) in enumerate(zip(loaded.faces, restored, strict=True)):
            self._write_face(loaded, number, face, one, record)
        pairs = [(face, one) for face, one in zip(loaded.faces, restored, strict=True) if face.problem is None]
        reasons = [None if face.keep else one.restoration.problem for face, one in pairs]
        problems = [problem for problem in reasons or (face.problem for face in loaded.faces) if problem is not None]
        if problems:
            record.status, record.reason = 'failed', f'{len(problems)} of {len(loaded.faces)} faces not restored: {problems[0]}'
        else:
            self._write_image(loaded, restored, record)
            remove_stale_faces(loaded.job.results.existing_faces, loaded.job.results.folder, record)
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
        options = self.options
        if not loaded.faces:
            record.status = 'no face'
            if options.no_face == 'skip':
                return
        restorations = [one.restoration for one in restored]
        pasted = self.restorer.paste(loaded.photo, loaded.faces, restorations, options.upscale)
        path = loaded.job.results.image
        record.notes += [note for note in write_photo(path, pasted) if note not in record.notes]
        record.output = relative_name(path, loaded.job.results.folder)

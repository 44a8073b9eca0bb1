"""Photographs: faces found, restored, and put back."""

import time
from collections.abc import Sequence

from frex.restore.detection.align import scale_of
from frex.restore.faces.photo import Face
from frex.restore.folder.jobs import Job, LoadedImage, Restored, RestoreJobs, record_of, relative, write_face
from frex.restore.folder.outputs import remove_stale_faces
from frex.restore.folder.report import PictureRecord
from frex.restore.image_io.photo_file import read_picture, scaled_size, write_picture


class Photographs(RestoreJobs[Face]):
    """Whole photographs. The restored image is written last: where it is, all of its results are."""

    def prepare(self, job: Job) -> LoadedImage[Face]:
        """Read, and find the faces."""
        start = time.perf_counter()
        picture = read_picture(job.item.path)
        # Before the network has worked for nothing.
        scaled_size(picture, self.wishes.upscale)
        read = time.perf_counter()
        faces = self.restorer.find_faces(picture, self.wishes.selection, self.wishes.force)
        return LoadedImage(job, picture, faces, {'read': read - start, 'detect': time.perf_counter() - read})

    def restore(self, faces: Sequence[Face]) -> list[Restored]:
        """Those whose landmarks fit no face keep their problem."""
        wishes = self.wishes
        return self._timed(
            lambda: self.restorer.restore_found(faces, wishes.fidelity_weight, wishes.structure_weight, details=wishes.details)
        )

    def finish(self, reading: LoadedImage[Face], restored: Sequence[Restored]) -> PictureRecord:
        """Write faces and image; faces whose landmarks fit none, or with more detail than the result, stay as they are.

        Where the network failed on a face, or there are none but such, the image is not written: it would pass for a result.
        """
        start = time.perf_counter()
        record = record_of(reading, restored)
        for number, (face, one) in enumerate(zip(reading.faces, restored, strict=True)):
            self._write_face(reading, number, face, one, record)
        pairs = [(face, one) for face, one in zip(reading.faces, restored, strict=True) if face.problem is None]
        sound = [None if face.keep else one.restoration.problem for face, one in pairs]
        problems = [problem for problem in sound or (face.problem for face in reading.faces) if problem is not None]
        if problems:
            record.status, record.reason = 'failed', f'{len(problems)} of {len(reading.faces)} faces not restored: {problems[0]}'
        else:
            self._write_picture(reading, restored, record)
            remove_stale_faces(reading.job.results.former, reading.job.results.folder, record)
        record.seconds['write'] = time.perf_counter() - start
        return record

    def _write_face(self, reading: LoadedImage[Face], number: int, face: Face, one: Restored, record: PictureRecord) -> None:
        written, notes = write_face(reading, number, face.aligned, one)
        written.box, written.landmarks = face.box.round(2).tolist(), face.landmarks.round(2).tolist()
        written.score, written.size = face.score, round(face.aligned.shape[0] / scale_of(face.matrix), 2)
        record.faces.append(written)
        if face.keep is not None:
            notes.append(f'face {number} is left as it is: {face.keep}')
        record.notes += [note for note in notes if note not in record.notes]

    def _write_picture(self, reading: LoadedImage[Face], restored: Sequence[Restored], record: PictureRecord) -> None:
        wishes = self.wishes
        if not reading.faces:
            record.status = 'no face'
            if wishes.no_face == 'skip':
                return
        restorations = [one.restoration for one in restored]
        pasted = self.restorer.paste(reading.picture, reading.faces, restorations, wishes.upscale)
        path = reading.job.results.picture
        record.notes += [note for note in write_picture(path, pasted) if note not in record.notes]
        record.output = relative(path, reading.job.results.folder)

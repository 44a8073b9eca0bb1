"""Restore images that show one face each, in FFHQ alignment: `frex restore --aligned`."""

import time
from collections.abc import Sequence

import numpy as np

from frex.errors import FRExError
from frex.images import Image, resize
from frex.restore.faces.resolution import has_more_detail
from frex.restore.folder.jobs import Job, LoadedImage, RestoreJobs, TimedRestoration, start_record, write_face
from frex.restore.folder.outputs import remove_stale_faces
from frex.restore.folder.report import ImageRecord
from frex.restore.image_io.photo_file import Photo, read_photo, to_eight_bit


class AlignedFaces(RestoreJobs[Image]):
    """The pipeline's stages for aligned faces. The results have the network's size."""

    def prepare(self, job: Job) -> LoadedImage[Image]:
        """Read an image and resize it to the network's size; raise FRExError where it is not square."""
        start = time.perf_counter()
        photo = read_photo(job.item.path)
        height, width = photo.image.shape[:2]
        if height != width:
            raise FRExError(f'{job.item.path}: {width} x {height} is not square: not a face in FFHQ alignment (leave out --aligned)')
        face = resize(to_eight_bit(photo.image), self.restorer.size)
        return LoadedImage(job, photo, [face], {'read': time.perf_counter() - start, 'detect': 0.0})

    def restore(self, faces: Sequence[Image]) -> list[TimedRestoration]:
        """Restore a batch of faces; the camera is estimated with the crop of a frontal face."""
        options = self.options
        return self._timed(
            lambda: self.restorer.restore_faces(
                faces, fidelity_weight=options.fidelity_weight, structure_weight=options.structure_weight, details=options.details
            )
        )

    def finish(self, loaded: LoadedImage[Image], restored: Sequence[TimedRestoration]) -> ImageRecord:
        """Write the restored face, and return the record of the image."""
        start = time.perf_counter()
        record = start_record(loaded, restored)
        face, notes = write_face(loaded, 0, loaded.faces[0], restored[0], loaded.photo.metadata)
        face.size = float(loaded.photo.image.shape[0])
        record.faces, record.notes = [face], [*record.notes, *notes, *list_losses(loaded.photo, self.restorer.size)]
        if face.reason is not None:
            record.status, record.reason = 'failed', face.reason
        else:
            remove_stale_faces(loaded.job.results.existing_faces, loaded.job.results.folder, record)
        record.seconds['write'] = time.perf_counter() - start
        return record


def list_losses(photo: Photo, size: int) -> list[str]:
    """Return a note for each thing that the restored face, `size` x `size` pixels of 8 bit, does not keep of the input."""
    notes = []
    if has_more_detail(photo.image, np.eye(2, 3) * (size / photo.image.shape[0]), size):
        notes.append(f'the input holds more detail than the restored face of {size} x {size} pixels')
    if photo.image.dtype == np.uint16:
        notes.append('16 bit became 8: a restored face has 8')
    if photo.alpha is not None:
        notes.append('alpha is left out of the restored face')
    return notes

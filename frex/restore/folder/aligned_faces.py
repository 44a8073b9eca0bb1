"""Images that are one face each, in FFHQ alignment."""

import time
from collections.abc import Sequence

import numpy as np

from frex.errors import FRExError
from frex.images import Image, resize
from frex.restore.faces.resolution import has_more_detail
from frex.restore.folder.jobs import Job, LoadedImage, Restored, RestoreJobs, record_of, write_face
from frex.restore.folder.outputs import remove_stale_faces
from frex.restore.folder.report import PictureRecord
from frex.restore.image_io.photo_file import Picture, read_picture, to_eight_bit


class AlignedFaces(RestoreJobs[Image]):
    """Aligned faces. They come back at the network's size."""

    def prepare(self, job: Job) -> LoadedImage[Image]:
        """Read; raises FRExError where the image is not square, so no aligned face."""
        start = time.perf_counter()
        picture = read_picture(job.item.path)
        height, width = picture.image.shape[:2]
        if height != width:
            raise FRExError(f'{job.item.path}: {width} x {height} is not square: not a face in FFHQ alignment (leave out --aligned)')
        face = resize(to_eight_bit(picture.image), self.restorer.size)
        return LoadedImage(job, picture, [face], {'read': time.perf_counter() - start, 'detect': 0.0})

    def restore(self, faces: Sequence[Image]) -> list[Restored]:
        """With the crop of a frontal face for all."""
        wishes = self.wishes
        return self._timed(
            lambda: self.restorer.restore_faces(
                faces, fidelity_weight=wishes.fidelity_weight, structure_weight=wishes.structure_weight, details=wishes.details
            )
        )

    def finish(self, reading: LoadedImage[Image], restored: Sequence[Restored]) -> PictureRecord:
        """Write the face."""
        start = time.perf_counter()
        record = record_of(reading, restored)
        face, notes = write_face(reading, 0, reading.faces[0], restored[0], reading.picture.metadata)
        face.size = float(reading.picture.image.shape[0])
        record.faces, record.notes = [face], [*record.notes, *notes, *lost(reading.picture, self.restorer.size)]
        if face.reason is not None:
            record.status, record.reason = 'failed', face.reason
        else:
            remove_stale_faces(reading.job.results.former, reading.job.results.folder, record)
        record.seconds['write'] = time.perf_counter() - start
        return record


def lost(picture: Picture, size: int) -> list[str]:
    """What an aligned face comes back without, at the network's size."""
    notes = []
    if has_more_detail(picture.image, np.eye(2, 3) * (size / picture.image.shape[0]), size):
        notes.append(f'the input holds more detail than the restored face of {size} x {size} pixels')
    if picture.image.dtype == np.uint16:
        notes.append('16 bit became 8: a restored face has 8')
    if picture.alpha is not None:
        notes.append('alpha is left out of the restored face')
    return notes

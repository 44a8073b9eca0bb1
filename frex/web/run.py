"""A run of `frex restore` on the uploads of a session: the records and paths of its results, its zip, and the meshes of its heads.

`frex.web.work` makes the run itself.
"""

import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from frex.errors import FRExError
from frex.heads.codes import has_untrained_prior, load_head
from frex.heads.mesh import GRID, encode_mesh, extract_mesh
from frex.restore.faces.restorer import FaceRestorer
from frex.restore.folder.options import RestoreOptions
from frex.restore.folder.outputs import CODES
from frex.restore.folder.report import FaceRecord, ImageRecord, absolute_name
from frex.restore.folder.report_index import read_report
from frex.restore.image_io.photo_file import read_photo
from frex.utils.files import write_bytes
from frex.web.previews import SHOWN_SIDE, write_preview
from frex.web.uploads import Upload
from frex_arch import EG3D

# The folder of the meshes among the results.
HEADS = 'heads'


@dataclass
class WebRun:
    """A run of `frex restore` on uploads of a session, with its files in `folder`.

    `records` are those of the uploads, in the order of the uploads; the list is empty before the run has ended.
    """

    folder: Path
    options: RestoreOptions
    restorer: FaceRestorer
    uploads: Sequence[Upload]
    records: list[ImageRecord] = field(default_factory=list)

    @property
    def archive(self) -> Path:
        """The zip with all results and the report."""
        return self.folder / 'frex_results.zip'

    @property
    def has_heads(self) -> bool:
        """Whether the 3D prior of the network is there and not random, so that its heads mean something."""
        return self.restorer.net.eg3d is not None and not has_untrained_prior(self.restorer.net)

    def file(self, face: FaceRecord, kind: str) -> Path | None:
        """Return the path of a face's result in the folder `kind` of the results, such as `depth`; None where there is none."""
        return self.options.output / face.files[kind] if kind in face.files else None

    def mesh(self, face: FaceRecord) -> Path | None:
        """Return the file of a face's mesh; None where there is none."""
        codes = self.file(face, CODES)
        path = None if codes is None else self.options.output / HEADS / f'{codes.stem}.glb'
        return path if path is not None and path.is_file() else None

    def face_before_and_after(self, face: FaceRecord) -> tuple[Path, Path] | None:
        """Return the files of a face before and after; None where it is not restored."""
        before, after = self.file(face, 'cropped_faces'), self.file(face, 'restored_faces')
        return None if before is None or after is None else (before, after)

    def before_and_after(self, number: int) -> tuple[Path, Path] | None:
        """Return the files to show of image `number`, from 0, before and after; None where the run gave no result for it.

        They are copies of the image, enlarged as the result is, and of the result, with sides of at most SHOWN_SIDE pixels. The copies are
        written at the first call. With `aligned` they are the files of the face. Raises IndexError before the run has ended.
        """
        upload, record = self.uploads[number], self.records[number]
        if self.options.aligned and record.faces:
            return self.face_before_and_after(record.faces[0])
        if record.output is None:
            return None
        before, after = (self.folder / 'shown' / f'{number:02d}_{name}.png' for name in ('before', 'after'))
        if not after.is_file():
            write_preview(before, read_photo(upload.path), SHOWN_SIDE, self.options.upscale)
            write_preview(after, read_photo(self.options.output / record.output), SHOWN_SIDE)
        return before, after


def pack_results(run: WebRun) -> None:
    """Write all results of a run, and its report, into its archive, which is replaced."""
    with zipfile.ZipFile(run.archive, 'w') as archive:
        for path in sorted(run.options.output.rglob('*')):
            # The lock of the report is hidden.
            if path.is_file() and not path.name.startswith('.report'):
                archive.write(path, path.relative_to(run.options.output))


def read_records(run: WebRun) -> list[ImageRecord]:
    """Return the records of the uploads of a run from its report, in the order of the uploads; raise KeyError where one is missing."""
    records = {record.input: record for record, _ in read_report(run.options.output)[1]}
    return [records[absolute_name(upload.path)] for upload in run.uploads]


def write_meshes(run: WebRun, record: ImageRecord, eg3d: EG3D) -> Iterator[str]:
    """Write the mesh of each head of an image whose codes are there; yield a line for each head without a mesh, which says why.

    `eg3d` is the 3D prior that made the codes. A mesh is written only when the iteration comes to it. Raises FRExError for the codes of
    another network, and where the package trimesh is missing.
    """
    for number, face in enumerate(record.faces):
        codes = run.file(face, CODES)
        if codes is None:
            continue
        head = load_head(codes, eg3d)
        try:
            mesh = extract_mesh(eg3d, head, GRID)
        except FRExError as error:
            yield f'face {number}: {error}'
            continue
        write_bytes(run.options.output / HEADS / f'{codes.stem}.glb', encode_mesh(mesh, head.camera, 'glb'))

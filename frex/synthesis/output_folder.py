"""The folder of an EG3D augmentation set: the paths of its files, the settings that it was begun with, and its labels.

images/00000/img00000000.png, ...   the images, a thousand a folder
images/dataset.json                 their labels
ws/00000/img00000000.npy, ...       latent codes, (num_ws, w) float32, where requested
contact_sheet.jpg, synthesis.json   some images by yaw; the settings
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from frex.data.contact_sheet import draw_contact_sheet
from frex.data.labels import view_angles_in_degrees, write_labels
from frex.errors import FRExError
from frex.images import Image, read_image, write_image
from frex.synthesis.samples import SamplingRecipe, draw_labels
from frex.utils.files import write_atomically
from frex.utils.resumable import ResumableFolder

RECORD = 'synthesis.json'
# At most this many samples on the contact sheet.
SHOWN = 48


@dataclass(frozen=True)
class SynthesisFolder:
    """The folder `root` of an augmentation set.

    `ext` is the suffix of its images without the dot, such as `png`; with `with_ws` the latent codes ws are stored, too.
    """

    root: Path
    ext: str
    with_ws: bool

    @property
    def images_folder(self) -> Path:
        """Return `images`, the subfolder of the images and their `dataset.json`: `dataroot_gt` in the options of a training."""
        return self.root / 'images'

    def image_name(self, number: int) -> str:
        """Return the name of sample `number` in `dataset.json`: its path below the folder of images."""
        return f'{number // 1000:05d}/img{number:08d}.{self.ext}'

    def image_path(self, number: int) -> Path:
        """Return the path of the image of sample `number`, such as `images/00000/img00000012.png`; the file may be missing."""
        return self.images_folder / self.image_name(number)

    def ws_path(self, number: int) -> Path:
        """Return the path of the latent codes of sample `number`, such as `ws/00000/img00000012.npy`; the file may be missing."""
        return (self.root / 'ws' / self.image_name(number)).with_suffix('.npy')

    def has(self, number: int) -> bool:
        """Return whether sample `number` exists; files are written atomically, so an existing sample is complete."""
        return self.image_path(number).exists() and (not self.with_ws or self.ws_path(number).exists())

    def check_record(self, settings: Mapping[str, Any], num: int) -> dict[str, Any]:
        """Return the record of the set, a new one where there is none, with its number of samples raised to `num`; write nothing.

        Raises FRExError where the set was begun with other `settings` or more samples, and where the folder holds something else.
        """
        record = self._resumable_folder.read({'settings': settings}) or {'settings': dict(settings), 'num': num}
        begun = record.get('num')
        if not isinstance(begun, int):
            raise FRExError(f'{self.root / RECORD}: damaged, it has no number of samples; give a new folder')
        if num < begun:
            raise FRExError(f'{self.root}: was begun with {begun} samples, not {num}; give at least as many, or give a new folder')
        return record | {'num': num}

    def begin(self, settings: Mapping[str, Any], num: int, notes: Mapping[str, str]) -> None:
        """Check the folder as `check_record` does and write its record; several processes may begin at the same time.

        `notes` are entries for the record, which are added where it has none of their names.
        """
        with self._resumable_folder.locked():
            self._resumable_folder.write(dict(notes) | self.check_record(settings, num))

    @property
    def _resumable_folder(self) -> ResumableFolder:
        return ResumableFolder(self.root, RECORD)

    def write(self, number: int, image: Image, ws: Float32[np.ndarray, 'num_ws w']) -> None:
        """Write a sample: a BGR uint8 image and, `with_ws`, its latent codes. Existing files are replaced.

        The image is last, so that an interrupted sample counts as missing.
        """
        if self.with_ws:
            self.ws_path(number).parent.mkdir(parents=True, exist_ok=True)
            with write_atomically(self.ws_path(number)) as part, part.open('wb') as stream:
                np.save(stream, ws)
        write_image(self.image_path(number), image)

    def finish(self, recipe: SamplingRecipe, num: int) -> None:
        """Write labels and contact sheet of a complete set of `num` samples; every process that does so writes the same content."""
        numbers = range(num)
        cameras, crops = (labels.tolist() for labels in draw_labels(recipe, numbers))
        names = [self.image_name(number) for number in numbers]
        self._write_contact_sheet(cameras)
        write_labels(self.images_folder / 'dataset.json', dict(zip(names, cameras, strict=True)), dict(zip(names, crops, strict=True)))

    def _write_contact_sheet(self, cameras: Sequence[Sequence[float]]) -> None:
        """Write a contact sheet of evenly picked samples, ordered by yaw; captions are in degrees."""
        num = len(cameras)
        angles = [view_angles_in_degrees(np.array(camera, np.float32)) for camera in cameras]
        shown = np.argsort([yaw for yaw, _, _ in angles])[np.linspace(0, num - 1, min(num, SHOWN)).round().astype(int)]
        captions = [f'yaw {angles[number][0]:+.0f} pitch {angles[number][1]:+.0f}' for number in shown]
        sheet = draw_contact_sheet([read_image(self.image_path(int(number))) for number in shown], captions)
        write_image(self.root / 'contact_sheet.jpg', sheet)

"""A folder with an EG3D augmentation set: what lies where, what it was begun with, and what is written when it is whole.

images/00000/img00000000.png, ...   the images, a thousand a folder
images/dataset.json                 their labels
ws/00000/img00000000.npy, ...       (num_ws, w) float32, where asked for
contact_sheet.jpg, synthesis.json   some images by yaw; the settings
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from frex.data.contact_sheet import contact_sheet
from frex.data.labels import write_labels
from frex.errors import FRExError
from frex.images import Image, read_image, write_image
from frex.synthesis.samples import SamplingRecipe, draw_labels, draw_poses
from frex.utils.files import replacing
from frex.utils.resumable import ResumableFolder

RECORD = 'synthesis.json'
SHOWN = 48


@dataclass(frozen=True)
class SynthesisFolder:
    """`ext` is the images' format; `with_ws` says whether a sample has its ws, too."""

    root: Path
    ext: str
    with_ws: bool

    @property
    def images(self) -> Path:
        """What a data set names as `dataroot_gt`."""
        return self.root / 'images'

    def name(self, number: int) -> str:
        """Of a sample's image, as `dataset.json` has it."""
        return f'{number // 1000:05d}/img{number:08d}.{self.ext}'

    def picture(self, number: int) -> Path:
        """A sample's image."""
        return self.images / self.name(number)

    def ws(self, number: int) -> Path:
        """A sample's ws."""
        return (self.root / 'ws' / self.name(number)).with_suffix('.npy')

    def has(self, number: int) -> bool:
        """Whether a sample is there; what is there is whole."""
        return self.picture(number).exists() and (not self.with_ws or self.ws(number).exists())

    def check(self, settings: Mapping[str, Any], num: int) -> dict[str, Any]:
        """The set's record, or a new one, with its number of samples raised to `num`.

        Raises FRExError for other `settings` than it was begun with, for fewer samples, and where the folder holds something else.
        """
        record = self._folder.read({'settings': settings}) or {'settings': dict(settings), 'num': num}
        begun = record.get('num')
        if not isinstance(begun, int):
            raise FRExError(f'{self.root / RECORD}: damaged, it has no number of samples; give a new folder')
        if num < begun:
            raise FRExError(f'{self.root}: was begun with {begun} samples, not {num}; ask for no fewer, or give a new folder')
        return record | {'num': num}

    def begin(self, settings: Mapping[str, Any], num: int, notes: Mapping[str, str]) -> None:
        """`check`, and write the record, with `notes` when it is new; safe where several processes begin."""
        with self._folder.locked():
            self._folder.write(dict(notes) | self.check(settings, num))

    @property
    def _folder(self) -> ResumableFolder:
        return ResumableFolder(self.root, RECORD)

    def write(self, number: int, picture: Image, ws: Float32[np.ndarray, 'num_ws w']) -> None:
        """Write a sample; one that is killed meanwhile is not there."""
        if self.with_ws:
            self.ws(number).parent.mkdir(parents=True, exist_ok=True)
            with replacing(self.ws(number)) as part, part.open('wb') as stream:
                np.save(stream, ws)
        write_image(self.picture(number), picture)

    def finish(self, recipe: SamplingRecipe, num: int) -> None:
        """Labels and contact sheet of a set whose samples are all there; every process that writes them writes the same."""
        numbers = range(num)
        cameras, crops = (labels.tolist() for labels in draw_labels(recipe, numbers))
        names = [self.name(number) for number in numbers]
        self._write_contact_sheet(recipe, num)
        write_labels(self.images / 'dataset.json', dict(zip(names, cameras, strict=True)), dict(zip(names, crops, strict=True)))

    def _write_contact_sheet(self, recipe: SamplingRecipe, num: int) -> None:
        yaw, pitch = draw_poses(recipe, range(num))
        shown = np.argsort(yaw)[np.linspace(0, num - 1, min(num, SHOWN)).round().astype(int)]
        captions = [f'yaw {yaw[number]:+.2f} pitch {pitch[number]:+.2f}' for number in shown]
        sheet = contact_sheet([read_image(self.picture(int(number))) for number in shown], captions)
        write_image(self.root / 'contact_sheet.jpg', sheet)

"""The folder of a test set: images in `images`, and beside it a JSON record of how they were made."""

from collections.abc import Collection, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from frex.data.sources import has_image_name
from frex.errors import FRExError
from frex.utils.files import sha256
from frex.utils.resumable import Record, ResumableFolder

SHEET = 'contact_sheet.jpg'


class TestSetFolder(ResumableFolder):
    """The resumable folder of a test set, whose record holds its settings and the versions of the libraries that wrote it."""

    @property
    def images_folder(self) -> Path:
        """Return `images`, the subfolder of the images; it holds nothing else but their `dataset.json`, where they have camera labels."""
        return self.root / 'images'

    def begin_set(self, settings: Mapping[str, Any]) -> Record:
        """Return the record; write a new one where there is none.

        Raises FRExError where the set was begun with other `settings` or versions, where the record is damaged, and where the folder holds
        something else.
        """
        return self.begin({'settings': settings, 'versions': versions()})

    def read_set(self) -> Record | None:
        """Return the record, whatever its settings and versions; None where the folder is new.

        Raises FRExError where the record is damaged, and where the folder holds something else.
        """
        return self.read({'settings': {}, 'versions': {}})

    def check_images(self, names: Collection[str]) -> None:
        """Raise FRExError where the folder of images holds an image whose relative path is not one of `names`."""
        there = (path.relative_to(self.images_folder).as_posix() for path in self.images_folder.rglob('*'))
        others = sorted(set(filter(has_image_name, there)) - set(names))
        if others:
            raise FRExError(
                f'{self.images_folder}: holds {others[0]}, which is not of this set; remove it ({len(others)} such), or give a new folder'
            )

    def check_whole(self, record: Record) -> None:
        """Raise FRExError where an image of a complete set is missing or differs from its SHA-256 in `record`, or `record` is damaged.

        `record` has the entry `images`, which is written last. Labels, and files that `record` does not name, are not checked.
        """
        try:
            sums = {name: str(entry['sha256']) for name, entry in record['images'].items()}
        except (KeyError, TypeError, AttributeError) as error:
            raise FRExError(f'{self.root / self.record}: damaged, or of another program ({error!r}); give a new folder') from None
        missing = [name for name in sums if not (self.images_folder / name).exists()]
        changed = [name for name in sums if name not in missing and sha256(self.images_folder / name) != sums[name]]
        for names, what in ((missing, 'is no longer there'), (changed, 'is not the image that was written')):
            if names:
                raise FRExError(f'{self.root}: {names[0]} {what} ({len(names)} such); make the set again in a new folder')


def versions() -> dict[str, str]:
    """Return the versions of the libraries on which the bytes of a written image depend."""
    return {'frex': version('frex'), 'numpy': np.__version__, 'opencv': cv2.__version__}


def check_output_outside(folder: Path, out: Path, flag: str) -> None:
    """Raise FRExError where `out` is the input folder `folder` or lies in it: results would be input the next time.

    `flag` names the input.
    """
    inner, outer = out.resolve(), folder.resolve()
    if inner == outer or outer in inner.parents:
        raise FRExError(f'-o {out}: lies in {flag} {folder}; give a folder outside of it')

"""The folder of a test set: images in `images`, beside it a JSON record of how they were made."""

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


class SetFolder(ResumableFolder):
    """The folder of a test set, whose record also names the versions of the libraries that made it."""

    @property
    def images(self) -> Path:
        """Return the folder of the images, which holds nothing but them and their labels."""
        return self.root / 'images'

    def begin_set(self, settings: Mapping[str, Any]) -> Record:
        """Return the record, a new one where there is none.

        Raises FRExError where the set was begun with other `settings` or versions.
        """
        return self.begin({'settings': settings, 'versions': versions()})

    def read_set(self) -> Record | None:
        """Return the record, whatever its settings; None where the folder is new.

        Raises FRExError for a folder that holds something else.
        """
        return self.read({'settings': {}, 'versions': {}})

    def check_images(self, names: Collection[str]) -> None:
        """Raise FRExError where `images` holds an image that is not one of `names`."""
        there = (path.relative_to(self.images).as_posix() for path in self.images.rglob('*'))
        others = sorted(set(filter(has_image_name, there)) - set(names))
        if others:
            raise FRExError(
                f'{self.images}: holds {others[0]}, which is not of this set; remove it ({len(others)} such), or give a new folder'
            )

    def check_whole(self, record: Record) -> None:
        """Raise FRExError where an image in the record of a complete set is missing or was changed."""
        try:
            sums = {name: str(entry['sha256']) for name, entry in record['images'].items()}
        except (KeyError, TypeError, AttributeError) as error:
            raise FRExError(f'{self.root / self.record}: damaged, or of another program ({error!r}); give a new folder') from None
        missing = [name for name in sums if not (self.images / name).exists()]
        changed = [name for name in sums if name not in missing and sha256(self.images / name) != sums[name]]
        for names, what in ((missing, 'is no longer there'), (changed, 'is not the image that was written')):
            if names:
                raise FRExError(f'{self.root}: {names[0]} {what} ({len(names)} such); make the set again in a new folder')


def versions() -> dict[str, str]:
    """Return the versions of the libraries on which the bytes of a written image depend."""
    return {'frex': version('frex'), 'numpy': np.__version__, 'opencv': cv2.__version__}


def check_output_outside(folder: Path, out: Path, flag: str) -> None:
    """Raise FRExError where the output would lie in the input folder, and be taken for input the next time."""
    inner, outer = out.resolve(), folder.resolve()
    if inner == outer or outer in inner.parents:
        raise FRExError(f'-o {out}: lies in {flag} {folder}; give a folder outside of it')

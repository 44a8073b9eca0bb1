"""The folder of a test set: pictures in `images`, beside it a JSON record of how they were made."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from filelock import FileLock

from frex.data.sources import is_picture
from frex.errors import FRExError
from frex.files import replacing
from frex.weights.places import sha256

SHEET = 'contact_sheet.jpg'
Record = dict[str, Any]


@dataclass(frozen=True)
class SetFolder:
    """`record` is the name of the JSON file, `kept` those of files that may be there before it."""

    root: Path
    record: str
    kept: tuple[str, ...] = ()

    @property
    def images(self) -> Path:
        """The pictures, and nothing but them and their labels."""
        return self.root / 'images'

    def begin(self, settings: Mapping[str, Any]) -> Record:
        """The record, new where there is none; safe where several processes begin.

        Raises FRExError where the set was begun with other `settings` or libraries, and where the folder holds something else.
        """
        asked = json.loads(json.dumps({'settings': settings, 'versions': versions()}))
        begun = self.read()
        for part in asked:
            for key in asked[part] if begun else ():
                _check_same(self.root, key, (begun or {})[part].get(key), asked[part][key])
        self.root.mkdir(parents=True, exist_ok=True)
        with FileLock(self.root / f'.{self.record}.lock'):
            record = self.read() or asked
            self.write(record)
        return record

    def read(self) -> Record | None:
        """The record, None where the folder is new; raises FRExError for a folder that holds something else."""
        path = self.root / self.record
        if not path.exists():
            self._check_new()
            return None
        try:
            record = json.loads(path.read_text(encoding='utf-8'))
            return {**record, 'settings': dict(record['settings']), 'versions': dict(record['versions'])}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FRExError(f'{path}: damaged, or of another program ({error!r}); give a new folder') from None

    def _check_new(self) -> None:
        if self.root.exists() and not self.root.is_dir():
            raise FRExError(f'{self.root}: is a file; give a new folder')
        there = sorted(other.name for other in self.root.iterdir()) if self.root.is_dir() else []
        others = [name for name in there if name not in self.kept and not name.startswith((self.record, f'.{self.record}'))]
        if others:
            raise FRExError(f'{self.root}: holds {others[0]} but no {self.record}, so it is no such set; give a new folder')

    def write(self, record: Record) -> None:
        """Replace the record."""
        with replacing(self.root / self.record) as part:
            part.write_text(json.dumps(record, indent=1) + '\n', encoding='utf-8')

    def check_pictures(self, names: Collection[str]) -> None:
        """Raise FRExError where `images` holds a picture that is none of the set's `names`."""
        there = (path.relative_to(self.images).as_posix() for path in self.images.rglob('*'))
        others = sorted(set(filter(is_picture, there)) - set(names))
        if others:
            raise FRExError(
                f'{self.images}: holds {others[0]}, which is not of this set; remove it ({len(others)} such), or give a new folder'
            )

    def check_whole(self, record: Record) -> None:
        """Raise FRExError where a picture of a finished set's record is gone, or is not the one that was written."""
        try:
            sums = {name: str(entry['sha256']) for name, entry in record['images'].items()}
        except (KeyError, TypeError, AttributeError) as error:
            raise FRExError(f'{self.root / self.record}: damaged, or of another program ({error!r}); give a new folder') from None
        missing = [name for name in sums if not (self.images / name).exists()]
        changed = [name for name in sums if name not in missing and sha256(self.images / name) != sums[name]]
        for names, what in ((missing, 'is no longer there'), (changed, 'is not the picture that was written')):
            if names:
                raise FRExError(f'{self.root}: {names[0]} {what} ({len(names)} such); make the set again in a new folder')


def _check_same(root: Path, key: str, begun: Any, asked: Any) -> None:
    if begun != asked:
        raise FRExError(f'{root}: was begun with {key} {begun}, not {asked}; ask for the same, or give a new folder')


def versions() -> dict[str, str]:
    """Of what the bytes of a written picture depend on."""
    return {'frex': version('frex'), 'numpy': np.__version__, 'opencv': cv2.__version__}


def check_apart(folder: Path, out: Path, flag: str) -> None:
    """Raise FRExError where results would lie among what they are made of, and be taken for it the next time."""
    inner, outer = out.resolve(), folder.resolve()
    if inner == outer or outer in inner.parents:
        raise FRExError(f'-o {out}: lies in {flag} {folder}; give a folder outside of it')

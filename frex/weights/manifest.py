"""The manifest of the files from other projects that FREx uses: what they are for, where they come from, their sizes and sums."""

from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import PurePath
from typing import Any, Literal, get_args

import yaml

from frex.errors import FRExError, nearest
from frex.options import convert

Task = Literal['train', 'restore', 'evaluate']
TASKS: tuple[str, ...] = get_args(Task)


@dataclass(frozen=True)
class WeightFile:
    """One file; `sha256` are whole sums or their first digits, none where none is known; `size` is in bytes, or None."""

    key: str
    file: str
    purpose: str
    tasks: list[Task]
    size: int | None
    sha256: list[str]
    licence: str
    urls: list[str]

    def __post_init__(self) -> None:
        if PurePath(self.file).name != self.file or '\\' in self.file or self.file in ('', '.', '..'):
            raise ValueError(f'file {self.file!r} must be a name without a folder')
        for digits in self.sha256:
            if not 8 <= len(digits) <= 64 or set(digits) - set('0123456789abcdef'):
                raise ValueError(f'sha256 {digits!r} must be 8 to 64 lower-case hexadecimal digits')
        for url in self.urls:
            if not url.startswith(('https://', 'http://')):
                raise ValueError(f'url {url!r} must begin with https://')

    def has_sum(self, digest: str) -> bool:
        """Return whether `digest` is one of the known sums; True where none is known."""
        return not self.sha256 or any(digest.startswith(digits) for digits in self.sha256)

    @property
    def described_sum(self) -> str:
        """The official sum for people, which says where only its beginning, or nothing, is known."""
        if not self.sha256:
            return 'not known'
        return self.sha256[0] if len(self.sha256[0]) == 64 else f'{self.sha256[0]}... (the rest is not known)'

    @property
    def described_size(self) -> str:
        """The size for people."""
        return 'size not known' if self.size is None else f'{self.size:,} bytes'


def parse_manifest(text: str, where: str) -> dict[str, WeightFile]:
    """Return the entries of a manifest by their keys; raise FRExError, which names it, for a wrong entry."""
    content: Any = yaml.safe_load(text)
    return {key: convert(WeightFile, {'key': key, **entry}, f'{where}: {key}') for key, entry in content.items()}


@cache
def manifest() -> dict[str, WeightFile]:
    """Return FREx's own manifest, `manifest.yml`."""
    return parse_manifest(resources.files('frex.weights').joinpath('manifest.yml').read_text(encoding='utf-8'), 'manifest.yml')


def find_entry(key: str) -> WeightFile:
    """Return the entry of `key`; raise FRExError, with the nearest key, where there is none."""
    if key not in manifest():
        raise FRExError(f'no weights are called {key!r}; {nearest(key, list(manifest()))}')
    return manifest()[key]


def files_for_task(task: str | None) -> list[WeightFile]:
    """Return the files that a task needs, or all for None."""
    return [file for file in manifest().values() if task is None or task in file.tasks]

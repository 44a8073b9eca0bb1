"""The manifest of the weight files of other projects that FREx uses: their purposes, URLs, sizes, checksums and licences."""

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
# The largest file that is accepted where the manifest has no size, in bytes.
MOST_BYTES = 2 << 30


@dataclass(frozen=True)
class WeightFile:
    """One entry of the manifest. `key` names it in options and commands, `file` is the name without folder, `size` in bytes or None.

    `sha256` are the accepted checksums, or their first digits where no more is known; an empty list accepts any. `urls` are tried in their
    order. Raises ValueError for values that are not of this form.
    """

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

    def may_have_size(self, size: int) -> bool:
        """Return whether a file of `size` bytes can be this one; where the size is not known, up to MOST_BYTES can."""
        return size <= MOST_BYTES if self.size is None else size == self.size

    def has_sum(self, digest: str) -> bool:
        """Return whether `digest`, 64 hexadecimal digits, is one of the known checksums; True where none is known."""
        return not self.sha256 or any(digest.startswith(digits) for digits in self.sha256)

    @property
    def described_sum(self) -> str:
        """The first known checksum for people; where only its beginning, or nothing, is known, the text says so."""
        if not self.sha256:
            return 'not known'
        return self.sha256[0] if len(self.sha256[0]) == 64 else f'{self.sha256[0]}... (the rest is not known)'

    @property
    def described_size(self) -> str:
        """The size for people, with thousands separators."""
        return 'size not known' if self.size is None else f'{self.size:,} bytes'


def parse_manifest(text: str, where: str) -> dict[str, WeightFile]:
    """Return the entries of a manifest in YAML by their keys; raise FRExError, which starts with `where` and the key, for a wrong one."""
    content: Any = yaml.safe_load(text)
    return {key: convert(WeightFile, {'key': key, **entry}, f'{where}: {key}') for key, entry in content.items()}


@cache
def manifest() -> dict[str, WeightFile]:
    """Return the entries of FREx's own manifest, `manifest.yml`, by their keys; it is read once."""
    return parse_manifest(resources.files('frex.weights').joinpath('manifest.yml').read_text(encoding='utf-8'), 'manifest.yml')


def find_entry(key: str) -> WeightFile:
    """Return the entry `key` of FREx's manifest; raise FRExError, with the most similar key or else all keys, where there is none."""
    if key not in manifest():
        raise FRExError(f'no weights are called {key!r}; {nearest(key, list(manifest()))}')
    return manifest()[key]


def files_for_task(task: str | None) -> list[WeightFile]:
    """Return the entries of FREx's manifest that `task` needs, or all if it is None."""
    return [file for file in manifest().values() if task is None or task in file.tasks]

"""Configurations of an ablation: a base option file, and files of differences that can be laid over any base."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from frex.errors import FRExError, nearest
from frex.options import (
    SHIPPED_FOLDER,
    FRExConfig,
    Options,
    RunOptions,
    complete,
    find_option_file,
    load_options,
    override,
    read_frex_run,
)
from frex.utils.files import write_atomically

FULL = 'full'
FOLDER = SHIPPED_FOLDER / 'ablations'
BASE_LINE = re.compile(r'^_base_:.*$', re.MULTILINE)


@dataclass(frozen=True)
class Configuration:
    """A configuration: its option file `file`, and `options`, the content of that file with `--force_yml` applied."""

    name: str
    file: Path
    options: Options

    @cached_property
    def config(self) -> FRExConfig:
        """Return the options, typed; raise FRExError for a key or value that no training takes."""
        run = RunOptions(str(self.file))
        return read_frex_run(complete(self.options, run, Path(), is_train=True, num_devices=0), run.opt)

    def run_name(self, seed: int) -> str:
        """Return the name of the training run; a checksum of the options in it keeps a run from resuming one with other options."""
        return f'ablation_{self.name}_{short_digest(select_training_options(self.options))}_seed{seed}'


def list_known_configurations() -> dict[str, Path | None]:
    """Return the six configurations of the paper's table 2 by name, with their files of differences; None for the full one."""
    return {FULL: None} | {path.stem: path for path in sorted(FOLDER.glob('*.yml'))}


def find_difference_file(name: str) -> Path | None:
    """Return the file of differences of a known configuration (None for the full one), or the user's file where `name` ends in `.yml`.

    Raises FRExError where it is neither.
    """
    known = list_known_configurations()
    if name in known:
        return known[name]
    if name.endswith('.yml'):
        return find_option_file(name)
    raise FRExError(f'--configurations: no {name!r}, and no file of that name ending in .yml; {nearest(name, list(known))}')


def write_configurations(names: Sequence[str], base: str, force_yml: Sequence[str], folder: Path) -> list[Configuration]:
    """Write an option file into `folder` for each of `names`, which lays its differences over the option file `base`.

    Existing files are replaced. The returned configurations have the changes `force_yml` in their `options`; the files do not have them.
    Raises FRExError for an unknown name or an invalid file. Names that differ only in their folder or suffix would get one file, which is
    not checked.
    """
    base_file = find_option_file(base).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return [_write_configuration(name, base_file, force_yml, folder) for name in names]


def _write_configuration(name: str, base: Path, force_yml: Sequence[str], folder: Path) -> Configuration:
    """Write the option file of one configuration, and return it with its options.

    Raises FRExError where the file of differences has no single `_base_` line, which the base replaces.
    """
    difference = find_difference_file(name)
    text = '# The whole of the base.\n_base_:\n' if difference is None else difference.read_text(encoding='utf-8')
    if len(BASE_LINE.findall(text)) != 1:
        raise FRExError(f'{difference}: a line with _base_ is needed, in the place of which another base can be put')
    line = yaml.safe_dump({'_base_': str(base)}, allow_unicode=True, width=10**6).strip()
    file = folder / f'{Path(name).stem}.yml'
    with write_atomically(file) as part:
        part.write_text(BASE_LINE.sub(lambda _: line, text), encoding='utf-8')
    options = load_options(file)
    for entry in force_yml:
        options = override(options, entry)
    return Configuration(Path(name).stem, file, options)


def equals_full(configuration: Configuration, full: Options) -> bool:
    """Return whether a configuration trains the same as the full one, because the base already lacks the part that it removes."""
    return select_training_options(configuration.options) == select_training_options(full)


def select_training_options(options: Options) -> Any:
    """Return the options that affect a training: all but name and seed, without entries that are None."""
    return _drop_none({key: value for key, value in options.items() if key not in ('name', 'manual_seed')})


def _drop_none(value: Any) -> Any:
    """Return `value` without the dictionary entries that are None, at any depth."""
    if isinstance(value, Mapping):
        return {key: _drop_none(each) for key, each in value.items() if each is not None}
    return [_drop_none(each) for each in value] if isinstance(value, list) else value


def short_digest(value: Any) -> str:
    """Return the first eight hexadecimal digits of the SHA-256 of `value` as JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:8]

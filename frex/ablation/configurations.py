"""Configurations of an ablation: a base, and differences that can be laid over any base."""

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
from frex.options import CHECKOUT, FRExConfig, Options, RunOptions, complete, find_option_file, load_options, override, read_frex_run
from frex.utils.files import replacing

FULL = 'full'
FOLDER = CHECKOUT / 'options' / 'ablations'
BASE_LINE = re.compile(r'^_base_:.*$', re.MULTILINE)


@dataclass(frozen=True)
class Configuration:
    """A configuration: its option file `file`, and `options`, the content of the file with `--force_yml` laid over it."""

    name: str
    file: Path
    options: Options

    @cached_property
    def config(self) -> FRExConfig:
        """The options, typed; raises FRExError for a key or value that no training takes."""
        run = RunOptions(str(self.file))
        return read_frex_run(complete(self.options, run, Path(), is_train=True, num_devices=0), run.opt)

    def run_name(self, seed: int) -> str:
        """Return the name of a training run; it contains a checksum of the options, so that no run continues one with others."""
        return f'ablation_{self.name}_{digest(training_options(self.options))}_seed{seed}'


def known_configurations() -> dict[str, Path | None]:
    """Return the six configurations of the paper's table by name, with their files of differences; full has none."""
    return {FULL: None} | {path.stem: path for path in sorted(FOLDER.glob('*.yml'))}


def difference_file(name: str) -> Path | None:
    """Return the file of differences of a known configuration, or the user's own file where `name` ends in `.yml`.

    Raises FRExError where it is neither.
    """
    known = known_configurations()
    if name in known:
        return known[name]
    if name.endswith('.yml'):
        return find_option_file(name)
    raise FRExError(f'--configurations: no {name!r}, and no file of that name ending in .yml; {nearest(name, list(known))}')


def write_configurations(names: Sequence[str], base: str, force_yml: Sequence[str], folder: Path) -> list[Configuration]:
    """Write an option file in `folder` for each of `names`, which lays its difference over `base`; return them.

    Raises FRExError for an unknown name or an invalid file.
    """
    base_file = find_option_file(base).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return [_write(name, base_file, force_yml, folder) for name in names]


def _write(name: str, base: Path, force_yml: Sequence[str], folder: Path) -> Configuration:
    """Write the option file of one configuration and return it with its options."""
    difference = difference_file(name)
    text = '# The whole of the base.\n_base_:\n' if difference is None else difference.read_text(encoding='utf-8')
    if len(BASE_LINE.findall(text)) != 1:
        raise FRExError(f'{difference}: a line with _base_ is needed, in the place of which another base can be put')
    line = yaml.safe_dump({'_base_': str(base)}, allow_unicode=True, width=10**6).strip()
    file = folder / f'{Path(name).stem}.yml'
    with replacing(file) as part:
        part.write_text(BASE_LINE.sub(lambda _: line, text), encoding='utf-8')
    options = load_options(file)
    for entry in force_yml:
        options = override(options, entry)
    return Configuration(Path(name).stem, file, options)


def equals_full(configuration: Configuration, full: Options) -> bool:
    """Return whether a configuration equals the full one, since the base lacks the part that it would remove."""
    return training_options(configuration.options) == training_options(full)


def training_options(options: Options) -> Any:
    """Return the options that affect a training, without its name, its seed and what is switched off."""
    return _without_nothing({key: value for key, value in options.items() if key not in ('name', 'manual_seed')})


def _without_nothing(value: Any) -> Any:
    """Return `value` without dictionary entries that are None."""
    if isinstance(value, Mapping):
        return {key: _without_nothing(each) for key, each in value.items() if each is not None}
    return [_without_nothing(each) for each in value] if isinstance(value, list) else value


def digest(value: Any) -> str:
    """Return a checksum of eight hexadecimal digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:8]

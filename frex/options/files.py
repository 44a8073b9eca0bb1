"""Option files: YAML with inheritance and overrides."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from frex.errors import FRExError, nearest
from frex.options.convert import Options
from frex.utils.files import describe_special, read_regular


def _find_shipped_folder() -> Path:
    """Return the folder of the option files that come with FREx: `options` of a checkout, or the wheel's copy of it."""
    package = Path(__file__).resolve().parents[1]
    copy = package / 'option_files'
    return copy if copy.is_dir() else package.parent / 'options'


SHIPPED_FOLDER = _find_shipped_folder()


class _Loader(yaml.SafeLoader):
    """Safe YAML, in which 1e-4 is a number as in YAML 1.2 and everywhere else."""


class OptionLoader(_Loader):
    """The same loader for an open file; reads the file that it names under `_base_`, too."""

    def get_single_data(self) -> Any:
        """Return the content of the file, merged over that of its `_base_`."""
        opt = super().get_single_data()
        return _with_base(opt, Path(self.name)) if isinstance(opt, dict) else opt


_Loader.add_implicit_resolver('tag:yaml.org,2002:float', re.compile(r'^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$'), list('-+.0123456789'))


def find_option_file(name: str) -> Path:
    """Return the option file `name` of the working directory, else the one that comes with FREx; its `options/` may be left out.

    Raises FRExError, which lists the files that there are.
    """
    shipped = SHIPPED_FOLDER / Path(name).relative_to('options') if Path(name).parts[:1] == ('options',) else SHIPPED_FOLDER / name
    for path in (Path(name), shipped):
        if path.is_file():
            return path
    special = describe_special(Path(name))
    if special is not None:
        raise FRExError(f'-opt: {name}: {special}')
    folder = Path(name).parent
    own = sorted(str(path) for path in folder.glob('*.yml')) if folder.is_dir() else []
    raise FRExError(f'-opt: no file {name}; option files in {folder}: {", ".join(own) or "none"}; those of FREx: frex options list')


def load_options(path: Path) -> Options:
    """Read an option file; its keys override those of the file that it names under `_base_`."""
    return _with_base(_read_yaml(path), path)


def _with_base(opt: Options, path: Path) -> Options:
    if '_base_' not in opt:
        return opt
    base_path = path.parent / str(opt.pop('_base_'))
    if not base_path.is_file():
        raise FRExError(f'{path}: _base_: no file {base_path}')
    return merge(load_options(base_path), opt)


def _read_yaml(path: Path) -> Options:
    try:
        opt = yaml.load(read_regular(path).decode(), Loader=_Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise FRExError(f'{path}: not a readable YAML file ({" ".join(str(error).split())})') from None
    if not isinstance(opt, dict):
        raise FRExError(f'{path}: an option file is a mapping of keys to values, this one holds a {type(opt).__name__}')
    return opt


def merge(base: Options, changes: Options) -> Options:
    """Merge `changes` into a copy of `base`, key by key; a mapping of another `type` replaces the whole mapping."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and value.get('type', old.get('type')) == old.get('type'):
            value = merge(old, value)
        merged[key] = value
    return merged


def override(opt: Options, entry: str) -> Options:
    """Apply one `--force_yml` entry, `section:key=value`, to a copy of `opt`; raise FRExError where a section does not exist."""
    keys, equals, value = entry.partition('=')
    path = [key.strip() for key in keys.split(':')]
    if not equals or not path[-1]:
        raise FRExError(f'--force_yml: {entry!r} is not of the form section:key=value')
    here: Any = opt
    for depth, section in enumerate(path[:-1]):
        here = here.get(section)
        if not isinstance(here, dict):
            raise FRExError(f'--force_yml: no section {":".join(path[: depth + 1])!r} to change a key of; {nearest(section, list(opt))}')
    try:
        return with_option(opt, path, yaml.load(value, Loader=_Loader))
    except yaml.YAMLError:
        raise FRExError(f'--force_yml: the value of {keys} is not YAML: {value!r}') from None


def with_option(opt: Options, path: Sequence[str], value: Any) -> Options:
    """Return a copy of `opt` with another value at the end of `path`, the keys of sections and, last, of the value."""
    key, *rest = path
    return opt | {key: with_option(opt[key], rest, value) if rest else value}

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
    """PyYAML's safe loader, but with 1e-4 as a number, as in YAML 1.2; PyYAML itself reads it as text."""


class OptionLoader(_Loader):
    """`_Loader` for basicsr, which opens the option file itself; merges the file over the one that it names under `_base_`."""

    def get_single_data(self) -> Any:
        """Return the content of the file, merged over that of its `_base_`."""
        opt = super().get_single_data()
        return _with_base(opt, Path(self.name)) if isinstance(opt, dict) else opt


_Loader.add_implicit_resolver('tag:yaml.org,2002:float', re.compile(r'^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$'), list('-+.0123456789'))


def find_option_file(name: str) -> Path:
    """Return the option file `name` of the working directory, else the one that comes with FREx; its `options/` may be left out.

    Raises FRExError where there is neither; the message lists the option files in the folder of `name`.
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
    """Read an option file and merge it (see `merge`) over the file that it names under `_base_`, which may name another in turn.

    `_base_` is relative to the folder of the file. Raises FRExError where a file is missing, is not YAML that holds a mapping, or is its
    own base.
    """
    return _with_base(_read_yaml(path), path)


def _with_base(opt: Options, path: Path, above: Sequence[Path] = ()) -> Options:
    """Return the options `opt` of the file `path` merged over those of its base; the files `above` have it as a base."""
    if '_base_' not in opt:
        return opt
    base_path = path.parent / str(opt.pop('_base_'))
    if not base_path.is_file():
        raise FRExError(f'{path}: _base_: no file {base_path}')
    files = [*above, path]
    if any(base_path.samefile(file) for file in files):
        raise FRExError(f'{path}: _base_: {base_path} has this file as a base in turn')
    return merge(_with_base(_read_yaml(base_path), base_path, files), opt)


def _read_yaml(path: Path) -> Options:
    try:
        opt = yaml.load(read_regular(path).decode(), Loader=_Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise FRExError(f'{path}: not a readable YAML file ({" ".join(str(error).split())})') from None
    if not isinstance(opt, dict):
        raise FRExError(f'{path}: an option file is a mapping of keys to values, this one holds a {type(opt).__name__}')
    return opt


def merge(base: Options, changes: Options) -> Options:
    """Return a copy of `base` with `changes` merged in, key by key; a mapping with another `type` replaces the old one as a whole."""
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
        above, here = here, here.get(section)
        if not isinstance(here, dict):
            hint = nearest(section, [str(key) for key, value in above.items() if isinstance(value, dict)])
            raise FRExError(f'--force_yml: no section {":".join(path[: depth + 1])!r} to change a key of; {hint}')
    try:
        return with_option(opt, path, yaml.load(value, Loader=_Loader))
    except yaml.YAMLError:
        raise FRExError(f'--force_yml: the value of {keys} is not YAML: {value!r}') from None


def with_option(opt: Options, path: Sequence[str], value: Any) -> Options:
    """Return a copy of `opt` in which the option at `path` has the value `value`; its sections must exist.

    `path` holds the keys of its sections and, last, its own key.
    """
    key, *rest = path
    return opt | {key: with_option(opt[key], rest, value) if rest else value}

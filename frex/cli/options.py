"""`frex options`: list the option files that come with FREx, copy one to change it, and print all keys."""

import shutil
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from frex.errors import FRExError, nearest


def add_command(commands: Any) -> None:
    """Add `options` to an argparse sub-command group."""
    parser: ArgumentParser = commands.add_parser('options', help='list and copy the option files that come with FREx', allow_abbrev=False)
    actions = parser.add_subparsers(title='actions', required=True, metavar='ACTION')
    actions.add_parser('list', help='list the option files and what each is for', allow_abbrev=False).set_defaults(run=_list)
    actions.add_parser('keys', help='print all keys with their types, defaults and meanings', allow_abbrev=False).set_defaults(run=_keys)
    copy = actions.add_parser('copy', help='copy an option file and those that it is based on', allow_abbrev=False)
    copy.set_defaults(run=_copy)
    copy.add_argument('name', metavar='NAME', help='one of the listed files, e.g. train_frex.yml')
    copy.add_argument('to', nargs='?', type=Path, default=Path('options'), metavar='FOLDER', help='where to (default: %(default)s)')


def _list(args: Namespace) -> None:
    for name, path in _shipped_files().items():
        purpose = path.read_text(encoding='utf-8').splitlines()[0].removeprefix('# ')
        print(f'options/{name}\n    {purpose}')


def _keys(args: Namespace) -> None:
    from frex.options.describe import to_markdown

    print(to_markdown(), end='')


def _copy(args: Namespace) -> None:
    """Copy the file and its bases with their folders, so that each finds its base; raise FRExError where another file is in the way."""
    shipped = _shipped_files()
    name = args.name.removeprefix('options/')
    name = name if name.endswith('.yml') else f'{name}.yml'
    if name not in shipped:
        raise FRExError(f'no option file {args.name} comes with FREx; {nearest(name, list(shipped))}')
    copies = {path: args.to / path.relative_to(shipped[name].parents[name.count('/')]) for path in _with_bases(shipped[name])}
    for path, copy in copies.items():
        if copy.exists() and copy.read_bytes() != path.read_bytes():
            raise FRExError(f'{copy}: exists and is another file; name another folder or remove it')
    for path, copy in copies.items():
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
        print(copy)


def _shipped_files() -> dict[str, Path]:
    """Return the option files that come with FREx by their paths in `options`."""
    from frex.options import SHIPPED_FOLDER

    return {path.relative_to(SHIPPED_FOLDER).as_posix(): path for path in sorted(SHIPPED_FOLDER.rglob('*.yml'))}


def _with_bases(path: Path) -> list[Path]:
    """Return an option file, the one that it names under `_base_`, that one's base, and so on."""
    import yaml

    base = yaml.safe_load(path.read_text(encoding='utf-8')).get('_base_')
    return [path, *(_with_bases((path.parent / base).resolve()) if base else [])]

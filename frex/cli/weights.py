"""`frex weights`: the files that FREx takes from elsewhere."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

TASKS = ['train', 'restore', 'evaluate']


def add_command(commands: Any) -> None:
    """Add `weights` to an argparse sub-command group."""
    weights = commands.add_parser('weights', help='list, download, check and convert files of weights', allow_abbrev=False)
    actions = weights.add_subparsers(title='commands', required=True, metavar='COMMAND')

    list_files = _add(actions, 'list', 'what is there, what is missing or damaged, and what it is for')
    download = _add(actions, 'download', 'fetch files, resuming and verifying')
    download.add_argument(
        '--mirror', action='append', default=[], metavar='URL', help='a folder that has the files, asked first; repeatable'
    )
    download.add_argument('--offline', action='store_true', help='fetch nothing; say what is missing and where it goes')
    check = _add(actions, 'check', 'verify sums, and that networks can be built from their files')
    for parser in (list_files, download, check):
        parser.add_argument('--for', dest='task', choices=TASKS, help='all files that a task needs')
    for parser, what in ((download, 'a key as `frex weights list` shows them'), (check, 'a key, or any file')):
        parser.add_argument('names', nargs='*', metavar='NAME', help=what)

    convert = _add(actions, 'convert', 'write a network as .safetensors, with its constructor arguments')
    convert.add_argument('source', metavar='SOURCE', help='a key, or a file of EG3D, StyleGAN2, ArcFace or FREx')
    convert.add_argument('target', type=Path, metavar='TARGET.safetensors')
    convert.add_argument('--half', action='store_true', help='store numbers in half precision: half the size, and nearly the same results')
    grow = _add(actions, 'grow', 'write a FREx of twice the size, which starts as the trained one enlarged')
    grow.add_argument('source', metavar='SOURCE', help='a checkpoint of FREx')
    grow.add_argument('target', type=Path, metavar='TARGET.safetensors')
    grow.add_argument('--channels', type=int, metavar='N', help='channels at the new size, where network_g.stylegan2.channels lists them')
    for parser in (convert, grow):
        parser.add_argument('--overwrite', action='store_true', help='replace TARGET if it is there')
    for parser in (check, convert, grow):
        parser.add_argument(
            '--param_key', default='params_ema', choices=['params_ema', 'params'], help='which weights (default: params_ema)'
        )


def _add(actions: Any, name: str, what: str) -> ArgumentParser:
    parser: ArgumentParser = actions.add_parser(name, help=what, description=what, allow_abbrev=False)
    parser.add_argument('--weights', type=Path, metavar='DIR', help='folder of the files (default: $FREX_HOME, ./weights, the user cache)')
    parser.set_defaults(run=lambda args: _run(name, args))
    return parser


def _run(name: str, args: Namespace) -> int:
    from frex.weights import commands

    actions = {
        'list': commands.list_files,
        'download': commands.download,
        'check': commands.check,
        'convert': commands.convert,
        'grow': commands.grow_network,
    }
    return actions[name](args)

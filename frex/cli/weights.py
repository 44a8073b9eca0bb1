"""`frex weights`: list, download, check, convert, grow, interpolate and push weight files."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from frex.cli.flags import add_weights, read_options

TASKS = ['train', 'restore', 'evaluate']


def add_command(commands: Any) -> None:
    """Add `weights` to an argparse sub-command group."""
    weights = commands.add_parser('weights', help='list, download, check, convert and push weight files', allow_abbrev=False)
    actions = weights.add_subparsers(title='commands', required=True, metavar='COMMAND')

    list_files = _add_action(actions, 'list', 'list the weight files: what each is for, and whether it is there or damaged')
    download = _add_action(actions, 'download', 'download files, resume interrupted downloads, and verify them')
    download.add_argument(
        '--mirror', action='append', default=[], metavar='URL', help='address of a folder with the files, which is tried first; repeatable'
    )
    download.add_argument('--offline', action='store_true', help='download nothing; print what is missing and where to put it')
    check = _add_action(actions, 'check', 'verify checksums, and that networks can be built from their files')
    for parser in (list_files, download, check):
        parser.add_argument('--for', dest='task', choices=TASKS, help='all files that a task needs')
    for parser, what in ((download, 'a key from `frex weights list`'), (check, 'a key, any file, or owner/name on the Hub')):
        parser.add_argument('names', nargs='*', metavar='NAME', help=what)

    convert = _add_action(actions, 'convert', 'write a network as .safetensors, with its constructor arguments')
    convert.add_argument('source', metavar='SOURCE', help='a key, a file of EG3D, StyleGAN2, ArcFace or FREx, or owner/name on the Hub')
    convert.add_argument('target', type=Path, metavar='TARGET.safetensors')
    grow = _add_action(actions, 'grow', 'write a FREx of twice the size, whose results start as those of the trained one, enlarged')
    grow.add_argument('source', metavar='SOURCE', help='a checkpoint of FREx')
    grow.add_argument('target', type=Path, metavar='TARGET.safetensors')
    grow.add_argument('--channels', type=int, metavar='N', help='channels at the new size, where network_g.stylegan2.channels lists them')
    blend = _add_action(actions, 'interpolate', 'write the network between two trained ones, by the mean of their weights')
    blend.add_argument('source', metavar='FIRST', help='a network file')
    blend.add_argument('second', metavar='SECOND', help='a file of the same network, trained on from FIRST')
    blend.add_argument('target', type=Path, metavar='TARGET.safetensors')
    blend.add_argument('--ratio', type=float, default=0.5, metavar='R', help='share of SECOND, 0 to 1 (default: 0.5)')
    push = _add_action(actions, 'push', 'upload a FREx as .safetensors, with a model card, to the Hugging Face Hub')
    push.add_argument('checkpoint', metavar='CHECKPOINT', help='a checkpoint of FREx')
    push.add_argument('repository', metavar='OWNER/NAME', help='the repository, which is made where it is missing')
    push.add_argument('--private', action='store_true', help='make a new repository private')
    push.add_argument('--license', metavar='ID', help='licence of the weights, as the Hub writes it, e.g. cc-by-nc-sa-4.0')
    push.add_argument('--revision', metavar='BRANCH', help='branch to push to, which is made where it is missing (default: main)')
    push.add_argument('--overwrite', action='store_true', help='replace the model card that the repository has')
    for parser in (convert, blend, push):
        parser.add_argument(
            '--half', action='store_true', help='store numbers in half precision, which halves the size and hardly changes results'
        )
    for parser in (convert, grow, blend):
        parser.add_argument('--overwrite', action='store_true', help='replace TARGET if it exists')
    for parser in (check, convert, grow, blend, push):
        parser.add_argument(
            '--param_key', default='params_ema', choices=['params_ema', 'params'], help='weights to use (default: params_ema)'
        )


def _add_action(actions: Any, name: str, what: str) -> ArgumentParser:
    parser: ArgumentParser = actions.add_parser(name, help=what, description=what, allow_abbrev=False)
    add_weights(parser)
    parser.set_defaults(run=lambda args: _run(name, args))
    return parser


def _run(name: str, args: Namespace) -> int:
    from frex.weights import commands

    if name == 'list':
        return commands.list_files(read_options(commands.ListOptions, args))
    if name == 'download':
        return commands.download(read_options(commands.DownloadOptions, args))
    if name == 'check':
        return commands.check(read_options(commands.CheckOptions, args))
    if name == 'convert':
        return commands.convert(read_options(commands.ConvertOptions, args))
    if name == 'push':
        return commands.push(read_options(commands.PushOptions, args))
    if name == 'interpolate':
        return commands.interpolate_networks(read_options(commands.InterpolateOptions, args))
    return commands.grow_network(read_options(commands.GrowOptions, args))

"""`frex degrade`: a degraded set, byte for byte the same from the same seed."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

WHAT = 'Degrade aligned faces as the paper does. What an image becomes follows from the seed and its name, whoever makes it.'
EXAMPLE = 'example: frex degrade test/gt -o test/lq --size 512; the same command again resumes it'


def add_command(commands: Any) -> None:
    """Add `degrade` to an argparse sub-command group."""
    what = 'degrade a folder of faces, the same bytes from the same seed'
    parser: ArgumentParser = commands.add_parser('degrade', help=what, description=WHAT, epilog=EXAMPLE, allow_abbrev=False)
    parser.add_argument('folder', type=Path, metavar='FOLDER', help='clean, square images; folders in it are searched too')
    parser.add_argument('-o', '--output', required=True, type=Path, metavar='DIR', help='a new folder, or one to resume')
    parser.add_argument('--preset', default='paper', metavar='NAME', help="paper, or release: the authors' code (default: paper)")
    parser.add_argument(
        '--severity',
        type=int,
        metavar='1..5',
        help='one pass of every step, with numbers from this fifth of their ranges (default: as drawn)',
    )
    parser.add_argument('--seed', default=0, type=int, metavar='S', help='another seed, other draws (default: 0)')
    parser.add_argument('--size', type=int, metavar='N', help='make images of N x N, and write the clean ones so, too')
    parser.add_argument('--num_workers', default=4, type=int, metavar='N', help='processes; no byte depends on it (default: 4)')
    parser.add_argument('--shard', default='0/1', metavar='I/N', help='make part I of N, from 0, one job each (default: 0/1)')
    parser.set_defaults(run=_degrade)


def _degrade(args: Namespace) -> None:
    from frex.testsets import degrade_folder

    degrade_folder(
        args.folder,
        args.output,
        preset=args.preset,
        severity=args.severity,
        seed=args.seed,
        size=args.size,
        num_workers=args.num_workers,
        shard=args.shard,
    )

"""`frex degrade`: degrade a folder of faces; the same seed gives the same bytes."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

WHAT = 'Degrade aligned faces as the paper does. The result depends only on the image, its name and the seed, not on processes or shards.'
EXAMPLE = 'example: frex degrade test/gt -o test/lq --size 512; the same command again resumes it'


def add_command(commands: Any) -> None:
    """Add `degrade` to an argparse sub-command group."""
    what = 'degrade a folder of faces, reproducibly'
    parser: ArgumentParser = commands.add_parser('degrade', help=what, description=WHAT, epilog=EXAMPLE, allow_abbrev=False)
    parser.add_argument('folder', type=Path, metavar='FOLDER', help='folder of clean, square images; its subfolders are searched too')
    parser.add_argument('-o', '--output', required=True, type=Path, metavar='DIR', help='a new folder, or one to resume')
    parser.add_argument('--preset', default='paper', metavar='NAME', help="paper, or release: as in the authors' code (default: paper)")
    parser.add_argument(
        '--severity',
        type=int,
        metavar='1..5',
        help='apply every step once, with parameters from this fifth of their ranges (default: random, as the preset says)',
    )
    parser.add_argument('--seed', default=0, type=int, metavar='S', help='seed of the random degradations (default: 0)')
    parser.add_argument('--size', type=int, metavar='N', help='resize to N x N, and also write the clean images at that size')
    parser.add_argument(
        '--num_workers', default=4, type=int, metavar='N', help='number of processes; the result does not depend on it (default: 4)'
    )
    parser.add_argument('--shard', default='0/1', metavar='I/N', help='shard I of N, counted from 0, for one of N jobs (default: 0/1)')
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

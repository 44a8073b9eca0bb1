"""`frex statistics`: compute the feature statistics of a folder of images, with which FID compares others."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from frex.cli.flags import add_device, add_offline, add_weights, read_options

EXAMPLE = 'example: frex statistics datasets/celeba_hq -o celeba_hq.pth; then: frex evaluate ... --fid_statistics celeba_hq.pth'


def add_command(commands: Any) -> None:
    """Add `statistics` to an argparse sub-command group."""
    what = 'write the feature statistics of a folder of images, with which FID compares others'
    parser: ArgumentParser = commands.add_parser('statistics', help=what, description=what, epilog=EXAMPLE, allow_abbrev=False)
    parser.add_argument('folder', type=Path, metavar='FOLDER', help='folder of images of any size; its subfolders are searched too')
    parser.add_argument(
        '-o', '--output', required=True, type=Path, metavar='FILE', help="FILE.pth (BasicSR's format) or FILE.npz (pytorch-fid's)"
    )
    parser.add_argument('--overwrite', action='store_true', help='replace FILE if it exists')
    add_weights(parser)
    add_offline(parser)
    add_device(parser)
    parser.add_argument('--batch_size', default=32, type=int, metavar='B', help='number of images at a time (default: 32)')
    parser.add_argument('--num_workers', default=4, type=int, metavar='N', help='number of processes that read images (default: 4)')
    parser.set_defaults(run=_statistics, extra='train')


def _statistics(args: Namespace) -> None:
    from frex.metrics.statistics import StatisticsOptions, write_statistics

    write_statistics(read_options(StatisticsOptions, args))

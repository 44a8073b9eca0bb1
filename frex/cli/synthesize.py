"""`frex synthesize`: render faces with EG3D, with exact camera labels, to augment the training set."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from frex.cli.flags import add_device, add_offline, read_options

EXAMPLE = 'example: torchrun --nproc_per_node=8 -m frex synthesize -o datasets/eg3d -n 100000; the same command again resumes it'


def add_command(commands: Any) -> None:
    """Add `synthesize` to an argparse sub-command group."""
    what = 'render faces with EG3D in many poses, with exact camera labels'
    parser: ArgumentParser = commands.add_parser('synthesize', help=what, description=what, epilog=EXAMPLE, allow_abbrev=False)
    parser.add_argument('-o', '--output', required=True, type=Path, metavar='DIR', help='a new folder, or one to resume')
    parser.add_argument('-n', '--num', required=True, type=int, metavar='N', help='number of samples; a greater N adds to an existing set')
    parser.add_argument(
        '--eg3d', default='ffhqrebalanced512-128', metavar='NAME', help='a key of `frex weights list`, or a file (default: %(default)s)'
    )
    parser.add_argument('--seed', default=0, type=int, metavar='S', help='seed of the random faces and poses (default: 0)')
    parser.add_argument('--psi', default=0.7, type=float, metavar='PSI', help='truncation; 1 is no truncation (default: 0.7)')
    parser.add_argument(
        '--yaw',
        default=(0.8, 1.2),
        nargs=2,
        type=float,
        metavar=('NEAR', 'FAR'),
        help='yaw in radians: |yaw| is below NEAR in 4 of 5 views, and between NEAR and FAR in the others (default: 0.8 1.2)',
    )
    parser.add_argument('--pitch', default=0.3, type=float, metavar='MOST', help='greatest |pitch| in radians (default: 0.3)')
    parser.add_argument(
        '--frame', default='ffhq', choices=['ffhq', 'eg3d'], help="the FFHQ alignment, in which FREx trains, or EG3D's crop (default: ffhq)"
    )
    parser.add_argument('--ws', action='store_true', help='also write the latent codes')
    parser.add_argument('--ext', default='png', choices=['png', 'jpg', 'webp'], help='format of the images (default: png)')
    parser.add_argument(
        '--batch_size',
        default=1,
        type=int,
        metavar='B',
        help='number of samples at a time; the value may change the rounding of single pixels (default: 1)',
    )
    parser.add_argument(
        '--shard',
        default='0/1',
        metavar='I/N',
        help='shard I of N, counted from 0, for one of N jobs; under torchrun its ranks divide it (default: 0/1)',
    )
    add_device(parser)
    add_offline(parser)
    parser.set_defaults(run=_synthesize)


def _synthesize(args: Namespace) -> None:
    from frex.synthesis.synthesize import SynthesizeOptions, write_samples

    write_samples(read_options(SynthesizeOptions, args))

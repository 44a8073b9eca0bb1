"""`frex ablate`: train the network without one part at a time, and compare the results, as in table 2 of the paper."""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from frex.cli.flags import add_offline, read_options

SEEDS = (0, 1, 2)
METRICS = ('psnr', 'ssim', 'lpips', 'fid', 'niqe', 'deg')
EXAMPLE = (
    'example, in minutes: frex ablate --base options/train_frex_tiny.yml --force_yml datasets:train:dataroot_gt=faces '
    'train:total_iter=500 --gt test_faces --seeds 0 1 2 -o ablation; the same command again resumes it'
)


def add_command(commands: Any) -> None:
    """Add `ablate` to an argparse sub-command group."""
    what = 'train FREx without one part at a time, with several seeds, and compare'
    parser: ArgumentParser = commands.add_parser('ablate', help=what, description=what, epilog=EXAMPLE, allow_abbrev=False)
    _add_trainings(parser)
    _add_images(parser)
    _add_evaluation(parser)
    parser.set_defaults(run=_ablate, extra='train')


def _add_trainings(parser: ArgumentParser) -> None:
    group = parser.add_argument_group('trainings')
    group.add_argument(
        '--base', default='options/train_frex.yml', metavar='FILE', help='option file that the configurations change (default: %(default)s)'
    )
    group.add_argument(
        '--configurations',
        default=[],
        nargs='+',
        action='extend',
        metavar='NAME',
        help='full, a name from options/ablations, or an option file with your own changes (default: the six of the paper)',
    )
    group.add_argument(
        '--seeds', nargs='+', action='extend', type=int, metavar='S', help=f'train once with each seed (default: {_join(SEEDS)})'
    )
    group.add_argument(
        '--take',
        default=[],
        nargs='+',
        action='extend',
        metavar='NAME=CHECKPOINT',
        help='use a trained checkpoint for a configuration; give NAME several times for several runs',
    )
    group.add_argument(
        '--force_yml', default=[], nargs='+', action='extend', metavar='KEY=VALUE', help='change options of all trainings, as in frex train'
    )
    group.add_argument(
        '--train_command',
        metavar='LINE',
        help='command that trains, e.g. "torchrun --nproc_per_node=8 -m frex train" (default: frex train)',
    )


def _add_images(parser: ArgumentParser) -> None:
    group = parser.add_argument_group('images')
    group.add_argument('--gt', required=True, type=Path, metavar='DIR', help='clean faces in FFHQ alignment, of any size')
    group.add_argument('--lq', type=Path, metavar='DIR', help='the same faces degraded (default: degrade --gt as in the paper)')
    group.add_argument(
        '--degrade_seed', default=0, type=int, metavar='S', help='seed of the degradations where --lq is not given (default: 0)'
    )
    group.add_argument('--cameras', type=Path, metavar='FILE', help="EG3D's dataset.json of the clean faces: adds tables by |yaw|")
    group.add_argument('-o', '--output', required=True, type=Path, metavar='DIR', help='a new folder, or one to resume')


def _add_evaluation(parser: ArgumentParser) -> None:
    group = parser.add_argument_group('evaluation')
    group.add_argument(
        '--metrics',
        nargs='+',
        action='extend',
        metavar='KEY',
        help=f'also lpips_alex, lmd, stlpips, stlpips_alex (default: {_join(METRICS)})',
    )
    group.add_argument(
        '--fid_statistics', type=Path, metavar='FILE', help='statistics that FID compares with (default: those of the clean faces)'
    )
    group.add_argument('--weights', type=Path, metavar='DIR', help="folder of the metrics' weight files (default: as frex evaluate)")
    add_offline(group)
    group.add_argument('--num_workers', type=int, default=4, metavar='N', help='processes for reading and for NIQE (default: 4)')
    group.add_argument('--device', default='auto', help='device for restoring and metrics: auto, cpu, cuda or cuda:N (default: auto)')


def _join(values: Iterable[object]) -> str:
    return ' '.join(map(str, values))


def _ablate(args: Namespace) -> None:
    from frex.ablation.ablate import AblateOptions, ablate

    # Not defaults of the flags: argparse would add what the user gives to them.
    args.seeds = args.seeds or SEEDS
    args.metrics = args.metrics or METRICS
    ablate(read_options(AblateOptions, args))

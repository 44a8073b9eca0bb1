"""`frex evaluate`: the tables of the paper for any methods."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from frex.cli.flags import add_device, add_weights, read_options

WHAT = 'Compare restored images of one or several methods with the clean ones; print the table and how it was made.'
EXAMPLE = """images are matched by their relative names without suffix (NAME_00, the first face of an image, is NAME).
a metric whose weights are missing is left empty and named.
example: frex evaluate --restored FREx=results/frex GFPGAN=results/gfpgan --gt test/gt --lq test/lq --cameras test/gt/dataset.json"""
METRICS = ('psnr', 'ssim', 'lpips', 'fid', 'niqe', 'deg')


def add_command(commands: Any) -> None:
    """Add `evaluate` to an argparse sub-command group."""
    what = 'compare restored images with clean ones: tables, plots, protocol'
    parser: ArgumentParser = commands.add_parser('evaluate', help=what, description=WHAT, epilog=EXAMPLE, allow_abbrev=False)
    _add_pictures(parser)
    _add_work(parser)
    _add_results(parser)
    parser.set_defaults(run=_evaluate)


def _add_pictures(parser: ArgumentParser) -> None:
    group = parser.add_argument_group('pictures')
    group.add_argument(
        '--restored',
        required=True,
        action='extend',
        nargs='+',
        metavar='NAME=FOLDER',
        help='results of the method NAME; one NAME with several folders has several runs, of which the table gives mean and spread',
    )
    group.add_argument('--gt', required=True, type=Path, metavar='FOLDER', help='the clean images; all folders are searched through')
    group.add_argument('--lq', type=Path, metavar='FOLDER', help='the degraded images: adds the row bilinear')
    group.add_argument('--cameras', type=Path, metavar='FILE', help="EG3D's dataset.json of the clean images: adds tables by |yaw|")
    group.add_argument('--bin_degrees', type=float, default=15.0, metavar='D', help='width of the bins of |yaw| (default: 15)')
    group.add_argument('--partial', action='store_true', help='where folders differ, compare the images that all have')


def _add_work(parser: ArgumentParser) -> None:
    group = parser.add_argument_group('metrics')
    group.add_argument(
        '--metrics',
        nargs='+',
        default=METRICS,
        metavar='KEY',
        help=f'also lpips_alex, lmd, stlpips, stlpips_alex (default: {" ".join(METRICS)})',
    )
    group.add_argument(
        '--fid_statistics', type=Path, metavar='FILE', help='what FID compares with, of frex statistics or pytorch-fid (default: --gt)'
    )
    add_weights(group)
    add_device(group)
    group.add_argument('--batch_size', type=int, default=8, metavar='B', help='images at a time (default: 8)')
    group.add_argument(
        '--num_workers',
        type=int,
        default=4,
        metavar='N',
        help='processes that read images and calculate NIQE and, without a GPU, PSNR and SSIM; networks run in one (default: 4)',
    )
    group.add_argument('--seed', type=int, default=0, metavar='S', help='of the bootstrap (default: 0)')


def _add_results(parser: ArgumentParser) -> None:
    group = parser.add_argument_group('results, beside what is printed')
    group.add_argument('--json', type=Path, metavar='FILE', help='everything, with the scores of each image')
    group.add_argument('--csv', type=Path, metavar='FILE', help='means, intervals and spreads')
    group.add_argument('--markdown', type=Path, metavar='FILE', help='the tables and the protocol, as printed')
    group.add_argument('--plots', type=Path, metavar='DIR', help='plots, and contact sheets of the worst and best cases')
    group.add_argument('--overwrite', action='store_true', help='replace what is there')


def _evaluate(args: Namespace) -> None:
    from frex.evaluation import Settings
    from frex.evaluation.write_results import EvaluateOptions, write_evaluation

    write_evaluation(read_options(EvaluateOptions, args), read_options(Settings, args))

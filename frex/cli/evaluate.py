"""`frex evaluate`: compare the results of restoration methods with clean images, as in the tables of the paper."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from frex.cli.flags import add_device, add_offline, add_weights, read_options

WHAT = 'Compare restored images of one or several methods with the clean ones; print the table and the protocol.'
EXAMPLE = """images are matched by their relative paths without suffix (NAME_00, the first face of an image, counts as NAME).
a metric whose weight file is missing stays empty, and is listed.
example: frex evaluate --restored FREx=results/frex GFPGAN=results/gfpgan --gt test/gt --lq test/lq --cameras test/gt/dataset.json"""
METRICS = ('psnr', 'ssim', 'lpips', 'fid', 'niqe', 'deg')


def add_command(commands: Any) -> None:
    """Add `evaluate` to an argparse sub-command group."""
    what = 'compare restored images with clean ones: tables, plots, protocol'
    parser: ArgumentParser = commands.add_parser('evaluate', help=what, description=WHAT, epilog=EXAMPLE, allow_abbrev=False)
    _add_images(parser)
    _add_work(parser)
    _add_results(parser)
    parser.set_defaults(run=_evaluate, extra='train')


def _add_images(parser: ArgumentParser) -> None:
    group = parser.add_argument_group('images')
    group.add_argument(
        '--restored',
        required=True,
        action='extend',
        nargs='+',
        metavar='NAME=FOLDER',
        help='results of the method NAME; several folders of one NAME are several runs, of which the table gives mean and spread',
    )
    group.add_argument(
        '--gt', required=True, type=Path, metavar='FOLDER', help='the clean images; subfolders of all folders are searched too'
    )
    group.add_argument('--lq', type=Path, metavar='FOLDER', help='the degraded images: adds the row bilinear')
    group.add_argument('--cameras', type=Path, metavar='FILE', help="EG3D's dataset.json of the clean images: adds tables by |yaw|")
    group.add_argument('--bin_degrees', type=float, default=15.0, metavar='D', help='width of the bins of |yaw| (default: 15)')
    group.add_argument('--partial', action='store_true', help='where folders differ, compare only the images that are in all of them')


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
        '--fid_statistics',
        type=Path,
        metavar='FILE',
        help='statistics that FID compares with, from frex statistics or pytorch-fid (default: those of --gt)',
    )
    group.add_argument(
        '--pyiqa',
        nargs='+',
        default=(),
        metavar='NAME',
        help='also these metrics of an installed pyiqa, such as musiq, clipiqa or maniqa, whose licence forbids commercial use; it runs in '
        'a process of its own',
    )
    group.add_argument('--pyiqa_python', type=Path, metavar='FILE', help='the Python that has pyiqa (default: this one)')
    add_weights(group)
    add_offline(group)
    add_device(group)
    group.add_argument('--batch_size', type=int, default=8, metavar='B', help='number of images at a time (default: 8)')
    group.add_argument(
        '--num_workers',
        type=int,
        default=4,
        metavar='N',
        help='processes that read images and compute NIQE and, without a GPU, PSNR and SSIM; networks run in one (default: 4)',
    )
    group.add_argument('--seed', type=int, default=0, metavar='S', help='seed of the bootstrap (default: 0)')


def _add_results(parser: ArgumentParser) -> None:
    group = parser.add_argument_group('results, in addition to what is printed')
    group.add_argument('--json', type=Path, metavar='FILE', help='write everything, with the scores of each image')
    group.add_argument('--csv', type=Path, metavar='FILE', help='write means, confidence intervals and spreads')
    group.add_argument('--markdown', type=Path, metavar='FILE', help='write the tables and the protocol, as printed')
    group.add_argument('--plots', type=Path, metavar='DIR', help='write plots, and contact sheets of the worst and best cases')
    group.add_argument('--overwrite', action='store_true', help='replace existing files')


def _evaluate(args: Namespace) -> None:
    from frex.evaluation import Settings
    from frex.evaluation.write_results import EvaluateOptions, write_evaluation

    write_evaluation(read_options(EvaluateOptions, args), read_options(Settings, args))

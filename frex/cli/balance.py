"""`frex balance`: choose faces of a pool with evenly distributed |yaw|."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from frex.cli.flags import add_det_threshold, add_device, add_frame, add_offline, add_weights, read_options

WHAT = 'Choose N faces of a pool so that |yaw| is as evenly spread as the pool allows: all faces of small bins, equally many of the others.'
EXAMPLE = """--pose auto uses labels where --cameras is given or POOL/dataset.json exists, else the head-pose network hopenet where its file
exists, else landmarks. example: frex balance celebahq/test -n 3000 -o test/balanced --cameras celebahq/cameras.json"""


def add_command(commands: Any) -> None:
    """Add `balance` to an argparse sub-command group."""
    what = 'choose faces of a pool whose yaw is spread evenly'
    parser: ArgumentParser = commands.add_parser('balance', help=what, description=WHAT, epilog=EXAMPLE, allow_abbrev=False)
    parser.add_argument('pool', type=Path, metavar='POOL', help='folder of aligned faces; its subfolders are searched too')
    parser.add_argument('-n', '--num', required=True, type=int, metavar='N', help='number of faces to choose')
    parser.add_argument('-o', '--output', required=True, type=Path, metavar='DIR', help='a new folder')
    parser.add_argument('--cameras', type=Path, metavar='FILE', help="camera labels in EG3D's dataset.json")
    parser.add_argument(
        '--pose', default='auto', choices=['auto', 'labels', 'hopenet', 'landmarks'], help='source of the yaw (default: auto)'
    )
    parser.add_argument('--seed', default=0, type=int, metavar='S', help='seed of the random choice within bins (default: 0)')
    parser.add_argument('--bin_degrees', default=5.0, type=float, metavar='D', help='width of the bins of |yaw| in degrees (default: 5)')
    parser.add_argument('--link', action='store_true', help='link to the images instead of copying them')
    add_frame(parser, 'ffhq', 'alignment of the faces, for --pose landmarks')
    add_weights(parser)
    add_offline(parser)
    add_det_threshold(parser, 0.5)
    add_device(parser)
    parser.set_defaults(run=_balance)


def _balance(args: Namespace) -> None:
    from frex.testsets.balance import BalanceOptions, balance

    balance(read_options(BalanceOptions, args))

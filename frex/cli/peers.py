"""`frex peers`: restore the same faces with FREx and the methods that it is compared with, and measure time and memory."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from frex.cli.flags import add_offline, read_options

EXAMPLE = (
    'example: frex peers -i lq -o results --method frex=frex:net_g_latest.pth --method gfpgan=gfpgan:GFPGANv1.4.pth '
    '--command "codeformer=cd CodeFormer && python inference_codeformer.py -w 0.5 --has_aligned -i {input} -o {output}" '
    '"gpen=cd GPEN && python demo.py --task FaceEnhancement --aligned --indir {input} --outdir {output}" --results gpen={name}_GPEN'
)


def add_command(commands: Any) -> None:
    """Add `peers` to an argparse sub-command group."""
    what = 'restore aligned faces with several methods, and measure their time and memory'
    parser: ArgumentParser = commands.add_parser('peers', help=what, description=what, epilog=EXAMPLE, allow_abbrev=False)
    parser.add_argument('-i', '--input', required=True, type=Path, metavar='DIR', help='degraded faces in FFHQ alignment')
    parser.add_argument(
        '-o', '--output', required=True, type=Path, metavar='DIR', help='folder for NAME/images and NAME/run.json of each method'
    )
    parser.add_argument(
        '--method',
        default=[],
        nargs='+',
        action='extend',
        metavar='NAME=KIND[:FILE]',
        help='a network; KIND: frex, gfpgan, restoreformer, codeformer (the last needs the package spandrel_extra_arches)',
    )
    parser.add_argument(
        '--command',
        default=[],
        nargs='+',
        action='extend',
        metavar='NAME=LINE',
        help='any other method: a shell command with {input} and {output}, which are replaced by quoted paths of folders, so write no '
        'quotes around them. It is run as it is, so use only commands that you trust. Its time is that of the whole command, its memory '
        'that of its largest process; its GPU memory is not measured',
    )
    parser.add_argument(
        '--results',
        default=[],
        nargs='+',
        action='extend',
        metavar='NAME=PATTERN',
        help='how a command names its images below {output}, where that is ambiguous: FOLDER/{name}_WORD, or a part of it; {name} is the '
        "face's file name without suffix (default: {name}, in restored_faces/ also {name}_00, "
        'else {name}_WORD where one word fits all faces)',
    )
    parser.add_argument('--weights', type=Path, metavar='DIR', help='folder that is searched first for files that are not given')
    add_offline(parser)
    parser.add_argument('--device', default='auto', help='device of the networks: auto, cpu, cuda, cuda:N or mps (default: auto)')
    parser.set_defaults(run=_peers)


def _peers(args: Namespace) -> int:
    from frex.peers.compare import PeersOptions, run_methods

    return run_methods(read_options(PeersOptions, args))

"""`frex render`: render views, films and meshes of recovered heads."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from frex.cli.flags import add_device, number_between, positive_int, read_options

WHAT = """Render views, films and meshes of the heads whose codes `frex restore --save_3d` wrote to the folder codes.
DIR gets NAME.png, a row of views from one side to the other, and what --film and --mesh add."""
EXAMPLE = 'example: frex render results/codes/photo_00.safetensors -o heads --film --mesh glb'


def add_command(commands: Any) -> None:
    """Add `render` to an argparse sub-command group."""
    what = 'render views, films and meshes of recovered heads'
    parser: ArgumentParser = commands.add_parser('render', help=what, description=WHAT, epilog=EXAMPLE, allow_abbrev=False)
    parser.add_argument('codes', nargs='+', type=Path, metavar='FILE', help='codes of heads (.safetensors)')
    parser.add_argument('-o', '--output', required=True, type=Path, metavar='DIR')
    parser.add_argument('--model_path', type=Path, metavar='FILE', help='checkpoint that made the codes (default: the small FREx)')
    parser.add_argument('--param_key', default='params_ema', choices=['params_ema', 'params'], help='weights to use (default: params_ema)')
    parser.add_argument('--views', type=positive_int, default=9, metavar='N', help='number of views (default: 9)')
    parser.add_argument(
        '--most_yaw', type=number_between(0, 180), default=40.0, metavar='DEGREES', help='yaw of the outer views (default: 40)'
    )
    parser.add_argument('--film', action='store_true', help='also write NAME.mp4, in which the head turns; needs the extra video')
    parser.add_argument('--mesh', nargs='+', default=[], choices=['ply', 'glb'], help='also write coloured meshes; needs the extra heads')
    parser.add_argument('--grid', type=positive_int, default=128, metavar='N', help='points along a side of the mesh (default: 128)')
    add_device(parser)
    parser.set_defaults(run=_render)


def _render(args: Namespace) -> None:
    from frex.heads.commands import RenderOptions, render

    render(read_options(RenderOptions, args))

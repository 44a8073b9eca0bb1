"""`frex export`: write the restoration network as an ONNX or torch.export file for other programs."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from frex.cli.flags import number_between, read_options

WHAT = """Write the whole restoration network as one .onnx or .pt2 (torch.export) file.
Its input lq is (batch, 3, size, size), float32, RGB in [-1, 1], of faces in FFHQ alignment. Its output image has the same shape and
colours, and is not clamped. With --for facefusion they are called input and output, and the fidelity weight is the second input, weight."""
EXAMPLE = 'example: frex export --model_path experiments/train_frex/models/net_g_latest.pth -o frex.onnx'


def add_command(commands: Any) -> None:
    """Add `export` to an argparse sub-command group."""
    what = 'write the restoration network as .onnx or .pt2'
    parser: ArgumentParser = commands.add_parser('export', help=what, description=WHAT, epilog=EXAMPLE, allow_abbrev=False)
    weight = number_between(0, 1)
    parser.add_argument('--model_path', required=True, type=Path, metavar='FILE', help='FREx checkpoint, or owner/name on the Hub')
    parser.add_argument('--param_key', default='params_ema', choices=['params_ema', 'params'], help='weights to use (default: params_ema)')
    parser.add_argument('-o', '--output', required=True, type=Path, metavar='FILE', help='FILE.onnx or FILE.pt2')
    parser.add_argument('--overwrite', action='store_true', help='replace FILE if it exists')
    parser.add_argument('--for', dest='program', default='frex', choices=['frex', 'facefusion'], help='program that will run a .onnx')
    parser.add_argument(
        '-w', '--fidelity_weight', type=weight, metavar='W', help='fixed in FILE: 0 for quality, 1 for fidelity (default: 1)'
    )
    parser.add_argument(
        '--structure_weight',
        type=weight,
        default=1.0,
        metavar='W',
        help='fixed in FILE: 0 for the 2D prior alone, 1 for the 3D structure (default: 1)',
    )
    parser.add_argument('--opset', type=int, metavar='N', help='opset of a .onnx, 18 to 23 (default: 18)')
    parser.add_argument('--check', action='store_true', default=True, help='run FILE and compare it with the network (the default)')
    parser.add_argument('--no_check', action='store_false', dest='check', help='write FILE without this comparison')
    parser.set_defaults(run=_export)


def _export(args: Namespace) -> None:
    from frex.export.commands import ExportOptions, export

    export(read_options(ExportOptions, args))

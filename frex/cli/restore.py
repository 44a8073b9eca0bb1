"""`frex restore` and `inference_frex.py`: restore a folder of faces."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

EXAMPLE = 'example: python inference_frex.py -i lq_faces -o results --model_path experiments/train_frex/models/net_g_latest.pth --aligned'


def add_flags(parser: ArgumentParser) -> None:
    """The flags that GFPGAN's users know."""
    parser.add_argument('-i', '--input', required=True, type=Path, metavar='PATH', help='a picture, or a folder of pictures')
    parser.add_argument('-o', '--output', default=Path('results'), type=Path, metavar='DIR', help='output folder (default: results)')
    parser.add_argument('--model_path', required=True, type=Path, metavar='FILE', help='FREx checkpoint; it names its own network')
    parser.add_argument('--aligned', action='store_true', help='the pictures are faces in FFHQ alignment')
    parser.add_argument('--param_key', default='params_ema', choices=['params_ema', 'params'], help='which weights (default: params_ema)')
    parser.add_argument('--suffix', default='', help='added to the name of each restored face')
    parser.add_argument('--ext', default='png', choices=['png', 'jpg', 'webp'], help='format of the results (default: png)')
    parser.add_argument('--exist', default='skip', choices=['skip', 'overwrite'], help='for results that are there (default: skip)')
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda or cuda:N (default: auto)')


def add_command(commands: Any) -> None:
    """Add `restore` to an argparse sub-command group."""
    parser = commands.add_parser('restore', help='restore a folder of faces', epilog=EXAMPLE, allow_abbrev=False)
    add_flags(parser)
    parser.set_defaults(run=restore)


def restore(args: Namespace) -> int:
    """Status 1 where a picture could not be restored."""
    from frex.restore import folder

    return folder.restore_folder(args)


def main(argv: Sequence[str] | None = None) -> int:
    """`inference_frex.py`."""
    from frex.cli.main import run

    parser = ArgumentParser(
        prog='inference_frex.py', description='Restore a folder of faces with FREx.', epilog=EXAMPLE, allow_abbrev=False
    )
    add_flags(parser)
    parser.set_defaults(run=restore)
    return run(parser, argv)

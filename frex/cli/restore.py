"""`frex restore` and `inference_frex.py`: restore photographs and aligned faces."""

from argparse import SUPPRESS, Action, ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from frex.cli.flags import count, number
from frex.cli.foreign_flags import refuse_foreign_flags

WHAT = 'Restore the faces in photographs with FREx.'
EXAMPLE = 'example: python inference_frex.py -i photos -o results --model_path experiments/train_frex/models/net_g_latest.pth'


def add_flags(parser: ArgumentParser) -> None:
    """The flags that GFPGAN's and CodeFormer's users know, and refusals of those that they misspell."""
    _add_places(parser)
    _add_network(parser)
    _add_faces(parser)
    _refuse_single_dashes(parser)
    refuse_foreign_flags(parser)


def _add_places(parser: ArgumentParser) -> None:
    group = parser.add_argument_group('input and output')
    group.add_argument(
        '-i', '--input', '--input_path', required=True, nargs='+', metavar='PATH', help='images, folders, patterns, lists of paths (.txt)'
    )
    group.add_argument('-r', '--recursive', action='store_true', help='take the folders in a folder, too; results keep its tree')
    group.add_argument(
        '-o', '--output', '--output_path', default=Path('results'), type=folder, metavar='DIR', help='output folder (default: results)'
    )
    group.add_argument(
        '-s', '--upscale', type=number(0.01, 64), default=1.0, metavar='S', help='size of the results, times that of the input (default: 1)'
    )
    group.add_argument('--suffix', default='', metavar='WORD', help='added to the name of each result')
    group.add_argument(
        '--ext', default='auto', metavar='EXT', help="png, jpg, webp, tiff ...; auto: the input's, and png for faces (default: auto)"
    )
    group.add_argument(
        '--exist', default='skip', choices=['skip', 'overwrite', 'rename'], help='for results that are there (default: skip)'
    )
    group.add_argument('--bg_upsampler', type=background, default='none', metavar='none', help='the image around the faces is interpolated')
    group.add_argument('--save_3d', action='store_true', help='also write what the 3D prior saw of each face: depth, image, turntable')
    group.add_argument('--save_weights_map', action='store_true', help="also write where each face took from the 2D prior: the AWB's alpha")


def _add_network(parser: ArgumentParser) -> None:
    group, weight = parser.add_argument_group('network'), number(0, 1)
    group.add_argument(
        '--model_path',
        type=Path,
        metavar='FILE',
        help='FREx checkpoint; it names its own network (default: the small FREx that comes with the package)',
    )
    group.add_argument('--param_key', default='params_ema', choices=['params_ema', 'params'], help='which weights (default: params_ema)')
    group.add_argument(
        '--weights', type=Path, metavar='DIR', help='folder of the other files (default: $FREX_HOME, ./weights, the user cache)'
    )
    group.add_argument(
        '-w', '--fidelity_weight', type=weight, default=1.0, metavar='W', help='0 for quality, 1 for fidelity to the input (default: 1)'
    )
    group.add_argument(
        '--structure_weight', type=weight, default=1.0, metavar='W', help='0 for the 2D prior alone, 1 for the 3D structure (default: 1)'
    )
    group.add_argument('--device', default='auto', help='auto, cpu, cuda or cuda:N (default: auto)')
    group.add_argument(
        '--precision', default='auto', choices=['auto', 'fp32', 'bf16'], help='auto is bf16 on GPUs that have it (default: auto)'
    )
    group.add_argument('--batch_size', type=count, metavar='N', help='faces at once, of several images (default: 8 on a GPU, else 2)')


def _add_faces(parser: ArgumentParser) -> None:
    group = parser.add_argument_group('faces')
    group.add_argument('--aligned', '--has_aligned', action='store_true', help='the images are faces in FFHQ alignment')
    group.add_argument('--only_center_face', action='store_true', help='restore only the face nearest to the middle of each image')
    group.add_argument(
        '--detection_model',
        choices=['retinaface_resnet50', 'retinaface_mobile0.25'],
        help='what finds the faces (default: the first whose file is there)',
    )
    group.add_argument(
        '--det_threshold', type=number(0, 0.9999), default=0.8, metavar='SCORE', help='least score of a face, 0 to 1 (default: 0.8)'
    )
    group.add_argument(
        '--min_face', type=number(0), default=0.0, metavar='PIXELS', help='leave out faces whose box is smaller (default: 0)'
    )
    group.add_argument(
        '--force', action='store_true', help='also restore faces of photographs that hold more detail than the result of the network can'
    )
    group.add_argument(
        '--no_face', default='copy', choices=['copy', 'skip'], help='an image without a face: write it as it is, or not (default: copy)'
    )


def background(text: str) -> str:
    """The type of `--bg_upsampler`."""
    if text.lower() != 'none':
        raise ArgumentTypeError(f'{text}: FREx runs no other network; enlarge the images with it first, then restore them without -s')
    return 'none'


def folder(text: str) -> Path:
    """The type of `-o`, which `-only_centre_face` would be, too."""
    if get_close_matches(f'o{text}', ['only_center_face'], cutoff=0.8):
        raise ArgumentTypeError(f'-o{text}: did you mean --only_center_face?')
    return Path(text)


class _Refusal(Action):
    """`-only_center_face`, as a known README has it, would otherwise be `-o nly_center_face`."""

    def __call__(self, parser: ArgumentParser, namespace: Namespace, values: Any, option_string: str | None = None) -> NoReturn:
        parser.error(f'{option_string}: write it with two dashes, -{option_string}')


def _refuse_single_dashes(parser: ArgumentParser) -> None:
    long = [name for action in list(parser._actions) for name in action.option_strings if name.startswith('--')]
    for name in long:
        parser.add_argument(name[1:], dest='refused', action=_Refusal, nargs='?', help=SUPPRESS, default=SUPPRESS)


def add_command(commands: Any) -> None:
    """Add `restore` to an argparse sub-command group."""
    parser = commands.add_parser('restore', help='restore the faces in photographs', description=WHAT, epilog=EXAMPLE, allow_abbrev=False)
    add_flags(parser)
    parser.set_defaults(run=restore)


def restore(args: Namespace) -> int:
    """Status 1 where an image could not be restored, 130 or 143 where a signal stopped it."""
    from frex.restore.folder import restore_folder

    return restore_folder.restore_folder(args)


def main(argv: Sequence[str] | None = None) -> int:
    """`inference_frex.py`."""
    from frex.cli.run import run

    parser = ArgumentParser(prog='inference_frex.py', description=WHAT, epilog=EXAMPLE, allow_abbrev=False)
    add_flags(parser)
    parser.set_defaults(run=restore)
    return run(parser, argv)

"""`frex restore` and `inference_frex.py`: restore the faces in photographs, aligned face images and films."""

from argparse import SUPPRESS, Action, ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from frex.cli.flags import add_offline, number_between, positive_int, read_options, whole_number
from frex.cli.run import refuse, run
from frex.errors import FRExError

WHAT = 'Restore the faces in photographs and films with FREx.'
EXAMPLE = 'example: %(prog)s -i photos -o results -s 2'
# Flags of GFPGAN and CodeFormer that FREx does not have, and what to do instead.
FOREIGN_FLAGS = {
    ('--draw_box',): 'FREx draws no boxes; report.json has those of all faces',
    ('--save_video_fps',): 'leave it out: a restored film has the times of the film',
    ('--weight',): "GFPGAN's weight is --fidelity_weight here, 0 for quality and 1 for fidelity",
    ('--arch', '--channel', '--channel_multiplier'): 'a FREx checkpoint names its own network; leave it out',
    ('-v', '--version'): 'FREx has no versions of networks; give a checkpoint by --model_path',
}

# Those of frex.restore.film.formats, whose import takes long.
CODECS = ('h264', 'hevc', 'vp9', 'av1', 'libx264', 'libx265', 'libvpx-vp9', 'libsvtav1')


class _RefuseFlag(Action):
    """A flag that FREx does not take. The action's `const` says why; `frex.cli.run.parse` reports all such flags of a call together."""

    def __call__(self, parser: ArgumentParser, namespace: Namespace, values: Any, option_string: str | None = None) -> None:
        refuse(namespace, f'{option_string}: {self.const}')


def add_flags(parser: ArgumentParser) -> None:
    """Add the flags of `frex restore`, named as in GFPGAN and CodeFormer, and what to run; flags that FREx lacks are explained."""
    _add_input_and_output(parser)
    _add_network(parser)
    _add_faces(parser)
    _add_films(parser)
    _refuse_single_dashes(parser)
    _refuse_foreign_flags(parser)
    parser.usage = '%(prog)s -i PATH [PATH ...] [-o DIR] [--model_path FILE] [other flags: see --help]'
    parser.set_defaults(run=_restore, also_refused=_lacks_model)


def _add_input_and_output(parser: ArgumentParser) -> None:
    group = parser.add_argument_group('input and output')
    group.add_argument(
        '-i',
        '--input',
        '--input_path',
        required=True,
        nargs='+',
        metavar='PATH',
        help='images, films, folders, patterns, or lists of paths (.txt)',
    )
    group.add_argument('-r', '--recursive', action='store_true', help='also search subfolders; results keep their tree')
    group.add_argument(
        '-o',
        '--output',
        '--output_path',
        default=Path('results'),
        type=output_folder,
        metavar='DIR',
        help='output folder (default: results)',
    )
    group.add_argument(
        '-s',
        '--upscale',
        type=number_between(0.01, 64),
        default=1.0,
        metavar='S',
        help='size of the results relative to the input (default: 1)',
    )
    group.add_argument('--suffix', default='', metavar='WORD', help='added to the name of each result')
    group.add_argument(
        '--ext',
        default='auto',
        metavar='EXT',
        help="png, jpg, webp, tiff ..., for films mp4, mkv or mov; auto: the input's, png for faces, mp4 for films (default: auto)",
    )
    group.add_argument(
        '--exist', default='skip', choices=['skip', 'overwrite', 'rename'], help='what to do where results exist already (default: skip)'
    )
    group.add_argument(
        '--bg_upsampler',
        default='none',
        metavar='NAME',
        help='network for the image around the faces: realesrgan_x2plus, realesrgan_x4plus, realesr_general_x4v3, or a file that the '
        'package spandrel knows (default: none, the image is interpolated)',
    )
    group.add_argument(
        '--bg_tile', type=whole_number, default=400, metavar='N', help='side of the tiles of that network; 0: no tiles (default: 400)'
    )
    group.add_argument(
        '--face_upsample', action='store_true', help='enlarge small restored faces by that network too, or by realesrgan_x2plus'
    )
    group.add_argument('--save_3d', action='store_true', help="also write the 3D prior's depth, image, turntable and codes of each face")
    group.add_argument(
        '--save_head',
        nargs='+',
        default=[],
        choices=['mp4', 'ply', 'glb'],
        help='--save_3d, and the recovered head of each face as a turning film (needs the extra video) or a mesh (extra heads)',
    )
    group.add_argument(
        '--save_weights_map', action='store_true', help="also write the AWB's alpha maps: where each face relies on the 2D prior"
    )


def _add_network(parser: ArgumentParser) -> None:
    group, weight = parser.add_argument_group('network'), number_between(0, 1)
    group.add_argument(
        '--model_path',
        type=Path,
        metavar='FILE',
        help='FREx checkpoint, which states its own architecture, or owner/name[@revision] on the Hugging Face Hub '
        '(default: the small FREx that comes with the package)',
    )
    group.add_argument('--param_key', default='params_ema', choices=['params_ema', 'params'], help='weights to use (default: params_ema)')
    group.add_argument(
        '--weights', type=Path, metavar='DIR', help='folder of the other files (default: $FREX_HOME, ./weights, the user cache)'
    )
    add_offline(group)
    group.add_argument(
        '-w', '--fidelity_weight', type=weight, default=1.0, metavar='W', help='0 for quality, 1 for fidelity to the input (default: 1)'
    )
    group.add_argument(
        '--structure_weight', type=weight, default=1.0, metavar='W', help='0 for the 2D prior alone, 1 for the 3D structure (default: 1)'
    )
    group.add_argument('--device', default='auto', help='auto, cpu, cuda, cuda:N or mps (default: auto)')
    group.add_argument(
        '--precision',
        default='auto',
        choices=['auto', 'fp32', 'bf16'],
        help='auto is bf16 on GPUs that support it, else fp32 (default: auto)',
    )
    group.add_argument(
        '--batch_size', type=positive_int, metavar='N', help='faces at a time, also of several images (default: 8 on a GPU, else 2)'
    )


def _add_faces(parser: ArgumentParser) -> None:
    group = parser.add_argument_group('faces')
    group.add_argument('--aligned', '--has_aligned', action='store_true', help='the images are faces in FFHQ alignment')
    group.add_argument('--only_center_face', action='store_true', help='restore only the face nearest to the middle of each image')
    group.add_argument(
        '--detection_model',
        choices=['retinaface_resnet50', 'retinaface_mobile0.25'],
        help='face detector (default: the first whose file is there)',
    )
    group.add_argument(
        '--det_threshold', type=number_between(0, 0.9999), default=0.8, metavar='SCORE', help='least score of a face, 0 to 1 (default: 0.8)'
    )
    group.add_argument(
        '--detection_size',
        type=positive_int,
        metavar='PIXELS',
        help='longer side at which images are searched; larger ones are reduced to it, and small faces get lost (default: 1500, and all '
        'pixels where that finds no face or small ones)',
    )
    group.add_argument(
        '--min_face',
        type=number_between(0),
        default=0.0,
        metavar='PIXELS',
        help="least longer side of a face's box in pixels (default: 0)",
    )
    group.add_argument(
        '--any_turn', action='store_true', help='also take doubtful faces that lie on their side or upside down: more false ones'
    )
    group.add_argument(
        '--force', action='store_true', help='also restore faces of photographs that hold more detail than the result of the network can'
    )
    group.add_argument(
        '--no_face',
        default='copy',
        choices=['copy', 'skip'],
        help='what to do with an image without a face: write it as it is, or skip it (default: copy)',
    )


def _add_films(parser: ArgumentParser) -> None:
    group = parser.add_argument_group('films', 'need the extra video')
    group.add_argument('--frames', action='store_true', help='each input is a folder of the frames of one film, and so is its result')
    group.add_argument('--no_tracking', action='store_true', help='restore each frame for itself: faces flicker')
    group.add_argument('--video_codec', default='h264', choices=CODECS, help='of restored films (default: h264)')
    group.add_argument(
        '--crf',
        type=whole_number,
        metavar='N',
        help='quality of restored films: less is better (default: 18 for h264, 20 for hevc, 24 for vp9, 26 for av1)',
    )


def output_folder(text: str) -> Path:
    """Parse `-o`; raise ArgumentTypeError for what is probably a misspelt `-only_center_face`, which argparse reads as `-o nly_...`."""
    if get_close_matches(f'o{text}', ['only_center_face'], cutoff=0.8):
        raise ArgumentTypeError(f'-o{text}: did you mean --only_center_face?')
    return Path(text)


def _refuse_single_dashes(parser: ArgumentParser) -> None:
    """Refuse each long flag with one dash: argparse would read `-only_center_face`, as in GFPGAN's README, as `-o nly_center_face`."""
    long = [name for action in list(parser._actions) for name in action.option_strings if name.startswith('--')]
    for name in long:
        _add_refusal(parser, (name[1:],), f'write it with two dashes, {name}')


def _refuse_foreign_flags(parser: ArgumentParser) -> None:
    for names, explanation in FOREIGN_FLAGS.items():
        _add_refusal(parser, names, explanation)


def _add_refusal(parser: ArgumentParser, names: Sequence[str], explanation: str) -> None:
    parser.add_argument(*names, dest='refused', action=_RefuseFlag, nargs='?', const=explanation, help=SUPPRESS, default=SUPPRESS)


def add_command(commands: Any) -> None:
    """Add `restore` to an argparse sub-command group."""
    parser = commands.add_parser('restore', help='restore the faces in photographs', description=WHAT, epilog=EXAMPLE, allow_abbrev=False)
    add_flags(parser)


def _lacks_model(args: Namespace) -> str | None:
    """Return what is wrong where no network is named and none comes with this installation; None otherwise."""
    from frex.weights.small_model import require_small_model

    try:
        if args.model_path is None:
            require_small_model()
    except FRExError as error:
        return str(error)
    return None


def _restore(args: Namespace) -> int:
    from frex.restore.folder.options import RestoreOptions
    from frex.restore.folder.restore_folder import restore_folder

    args.save_3d = args.save_3d or bool(args.save_head)
    return restore_folder(read_options(RestoreOptions, args))


def main(argv: Sequence[str] | None = None) -> int:
    """Run `inference_frex.py`, which takes the flags of `frex restore`, and return the exit status."""
    parser = ArgumentParser(prog='inference_frex.py', description=WHAT, epilog=EXAMPLE.replace('%', 'python %'), allow_abbrev=False)
    add_flags(parser)
    return run(parser, argv)

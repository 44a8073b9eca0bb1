"""`frex web`: serve a web page on this machine that restores the faces in uploaded photographs."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from frex.cli.flags import add_device, add_offline, positive_int, read_options

WHAT = """Serve a page on this machine to drop photographs on: it restores their faces as frex restore does, and shows before and after,
cameras, depth and heads. Photographs go to no other server. What is uploaded is removed when its tab in the browser is closed."""
EXAMPLE = 'example: %(prog)s --model_path experiments/train_frex/models/net_g_latest.pth'


def add_command(commands: Any) -> None:
    """Add `web` to an argparse sub-command group."""
    what = 'serve a page in the browser that restores photographs'
    parser: ArgumentParser = commands.add_parser('web', help=what, description=WHAT, epilog=EXAMPLE, allow_abbrev=False)
    parser.add_argument(
        '--host',
        default='127.0.0.1',
        metavar='ADDRESS',
        help='address to listen on; 0.0.0.0 lets other machines use the page (default: this one)',
    )
    parser.add_argument('--port', default=7860, type=positive_int, metavar='N', help='port to listen on (default: 7860)')
    _add_networks(parser)
    _add_upload_limits(parser)
    parser.set_defaults(run=_serve, extra='web')


def _add_networks(parser: ArgumentParser) -> None:
    """Add the flags that choose the networks and say how they run: checkpoints, weight files, device, precision, batch, detector."""
    group = parser.add_argument_group('networks')
    group.add_argument(
        '--model_path',
        nargs='+',
        default=(),
        metavar='FILE',
        help='FREx checkpoints to choose from besides the small FREx of the package, or owner/name[@revision] on the Hugging Face Hub',
    )
    group.add_argument('--param_key', default='params_ema', choices=['params_ema', 'params'], help='weights to use (default: params_ema)')
    group.add_argument(
        '--weights', type=Path, metavar='DIR', help='folder of the other files (default: $FREX_HOME, ./weights, the user cache)'
    )
    add_offline(group)
    add_device(group)
    group.add_argument(
        '--precision',
        default='auto',
        choices=['auto', 'fp32', 'bf16'],
        help='auto is bf16 on GPUs that support it, else fp32 (default: auto)',
    )
    group.add_argument('--batch_size', type=positive_int, metavar='N', help='faces at a time (default: 8 on a GPU, else 2)')
    group.add_argument(
        '--detection_model',
        choices=['retinaface_resnet50', 'retinaface_mobile0.25'],
        help='face detector (default: the first whose file is there)',
    )
    group.add_argument(
        '--detection_size', type=positive_int, metavar='PIXELS', help='longer side at which images are searched, as in frex restore'
    )


def _add_upload_limits(parser: ArgumentParser) -> None:
    """Add the flags that limit what a session may upload: the number of photographs, their size in MB, and in megapixels."""
    group = parser.add_argument_group('limits of a session, which is a tab of a browser')
    group.add_argument('--most_files', type=positive_int, default=20, metavar='N', help='number of photographs (default: 20)')
    group.add_argument('--most_megabytes', type=positive_int, default=100, metavar='N', help='size of a file in MB (default: 100)')
    group.add_argument(
        '--most_megapixels',
        type=positive_int,
        default=100,
        metavar='N',
        help='millions of pixels of a photograph, and of its result (default: 100)',
    )


def _serve(args: Namespace) -> int:
    from frex.web.options import WebOptions
    from frex.web.serve import serve

    return serve(read_options(WebOptions, args))

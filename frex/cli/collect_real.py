"""`frex collect-real`: collect a test set of real faces from photographs."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from frex.cli.flags import add_det_threshold, add_device, add_offline, add_weights, read_options

WHAT = """Find the faces in photographs, align them as FFHQ does, and keep N random ones of those within the limits. The limits apply to
the longer side of the face's box, the part of the aligned square that lies in the image, and the sharpness: the variance of the
Laplacian in the middle of the aligned face at 256 x 256."""
EXAMPLE = """running it again in the same folder with other limits does not detect the faces again.
example: frex collect-real celeba/img_celeba WIDER_val/images --wider wider_face_val_bbx_gt.txt -n 300 --max_sharpness 60 -o test/real"""


def add_command(commands: Any) -> None:
    """Add `collect-real` to an argparse sub-command group."""
    what = 'collect real faces of photographs, aligned, without near-duplicates'
    parser: ArgumentParser = commands.add_parser('collect-real', help=what, description=WHAT, epilog=EXAMPLE, allow_abbrev=False)
    parser.add_argument('folders', type=Path, nargs='+', metavar='FOLDER', help='folder of photographs; its subfolders are searched too')
    parser.add_argument('-n', '--num', required=True, type=int, metavar='N', help='number of faces to keep')
    parser.add_argument('-o', '--output', required=True, type=Path, metavar='DIR', help='a new folder')
    parser.add_argument('--size', default=512, type=int, metavar='N', help='size of the aligned faces (default: 512)')
    parser.add_argument('--seed', default=0, type=int, metavar='S', help='seed of the random choice (default: 0)')
    _add_limits(parser)
    _add_wider(parser)
    add_weights(parser)
    add_offline(parser)
    add_device(parser)
    parser.set_defaults(run=_collect)


def _add_limits(parser: ArgumentParser) -> None:
    group = parser.add_argument_group('limits')
    add_det_threshold(group, 0.8)
    group.add_argument('--min_face', default=24.0, type=float, metavar='PX', help="least longer side of a face's box (default: 24)")
    group.add_argument('--max_face', type=float, metavar='PX', help="greatest longer side of a face's box (default: none)")
    group.add_argument(
        '--min_inside',
        default=0.7,
        type=float,
        metavar='SHARE',
        help='least part of the aligned square that lies in the image, 0 to 1 (default: 0.7)',
    )
    group.add_argument('--min_sharpness', default=0.0, type=float, metavar='V', help='drop faces that are more blurred (default: 0)')
    group.add_argument('--max_sharpness', type=float, metavar='V', help='drop faces that are sharper (default: none)')
    group.add_argument(
        '--hash_distance',
        default=10,
        type=int,
        metavar='BITS',
        help='drop near-duplicates: faces whose difference hash (128 bits), or that of their mirror image, differs from a kept one '
        'in at most BITS bits, or in up to 20 more where the pixels of both correlate by 0.94; -1 drops none (default: 10)',
    )
    group.add_argument('--per_picture', type=int, metavar='K', help='keep at most K faces of one image (default: all)')


def _add_wider(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("WIDER FACE's annotations, which apply to the images that they name")
    group.add_argument(
        '--wider', type=Path, metavar='FILE', help='wider_face_*_bbx_gt.txt; faces that are marked invalid or not annotated are dropped'
    )
    group.add_argument(
        '--max_occlusion', default=1, type=int, choices=[0, 1, 2], help='greatest occlusion: 0 none, 1 partial, 2 heavy (default: 1)'
    )
    group.add_argument(
        '--blur',
        default=(0, 2),
        nargs=2,
        type=int,
        metavar=('LEAST', 'MOST'),
        help='range of the annotated blur: 0 clear, 1 normal, 2 heavy (default: 0 2)',
    )


def _collect(args: Namespace) -> None:
    from frex.testsets.collect import CollectOptions, collect
    from frex.testsets.select_faces import Limits

    collect(read_options(CollectOptions, args), read_options(Limits, args))

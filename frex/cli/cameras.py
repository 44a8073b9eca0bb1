"""`frex cameras`: import, estimate, preview and compare camera labels."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from frex.cli.flags import add_det_threshold, add_device, add_frame, add_offline, add_weights, read_options


def add_command(commands: Any) -> None:
    """Add `cameras` to an argparse sub-command group."""
    cameras = commands.add_parser('cameras', help='import, estimate, preview and compare camera labels', allow_abbrev=False)
    actions = cameras.add_subparsers(title='commands', required=True, metavar='COMMAND')
    _add_import(actions)
    _add_estimate(actions)
    _add_preview(actions)
    compare = _add_action(actions, 'compare', 'show how far the cameras in two label files differ')
    compare.add_argument('a', type=Path, metavar='A.json')
    compare.add_argument('b', type=Path, metavar='B.json')


def _add_import(actions: Any) -> None:
    what = "convert EG3D's dataset.json, and its crops, to one label file under the names of the images"
    parser = _add_action(actions, 'import', what)
    parser.add_argument('dataset_json', type=Path, metavar='DATASET_JSON', help="EG3D's labels")
    parser.add_argument('--cropping_params', type=Path, metavar='FILE', help="EG3D's cropping_params.json: adds a crop to each label")
    parser.add_argument(
        '--images',
        type=Path,
        metavar='FOLDER',
        help='folder of the images: names labels that have only numbers, and reports images without a label',
    )
    _add_output(parser)


def _add_estimate(actions: Any) -> None:
    parser = _add_action(actions, 'estimate', 'estimate cameras and crops of aligned faces from landmarks')
    parser.add_argument('folder', type=Path, metavar='FOLDER', help='folder of aligned faces; its subfolders are searched too')
    _add_output(parser)
    add_frame(parser, 'ffhq', 'alignment of the faces')
    add_weights(parser)
    add_offline(parser)
    add_det_threshold(parser, 0.5)
    parser.add_argument(
        '--preview', type=Path, metavar='DIR', help='also draw the cameras on the faces, and write the drawings to this folder'
    )
    add_device(parser)


def _add_preview(actions: Any) -> None:
    parser = _add_action(actions, 'preview', 'draw labels on their images')
    parser.add_argument('folder', type=Path, metavar='FOLDER', help='folder of the images; its subfolders are searched too')
    parser.add_argument('labels', type=Path, metavar='LABELS.json')
    parser.add_argument('-o', '--output', required=True, type=Path, metavar='DIR', help='folder for the drawings')
    parser.add_argument('-n', '--num', type=int, metavar='N', help='draw N images, evenly spaced among all (default: all)')
    add_frame(parser, 'eg3d', 'alignment of images whose label has no crop')
    parser.add_argument('--overwrite', action='store_true', help='replace existing drawings')


def _add_output(parser: ArgumentParser) -> None:
    parser.add_argument('-o', '--output', required=True, type=Path, metavar='OUT.json', help='label file to write')
    parser.add_argument('--overwrite', action='store_true', help='replace an existing file')


def _add_action(actions: Any, name: str, what: str) -> ArgumentParser:
    parser: ArgumentParser = actions.add_parser(name, help=what, description=what, allow_abbrev=False)
    parser.set_defaults(run=lambda args: _run(name, args))
    return parser


def _run(name: str, args: Namespace) -> int:
    from frex.camera_labels import compare, estimate, import_eg3d, preview

    if name == 'import':
        return import_eg3d.import_labels(read_options(import_eg3d.ImportOptions, args))
    if name == 'estimate':
        return estimate.estimate_labels(read_options(estimate.EstimateOptions, args))
    if name == 'preview':
        return preview.preview_labels(read_options(preview.PreviewOptions, args))
    return compare.compare_labels(read_options(compare.CompareOptions, args))

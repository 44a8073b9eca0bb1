"""`inference_frex.py`, run in this process, and what lies in the folder of its results."""

import json
from pathlib import Path

from frex.cli.restore import main

FOLDERS = ('cropped_faces', 'restored_faces', 'cmp')


def run(*arguments):
    """Run the command in this process; return its status."""
    return main([str(argument) for argument in arguments])


def names(folder):
    """Return the names in a folder, sorted."""
    return sorted(path.name for path in folder.iterdir())


def files(folder):
    """Return the paths of all files below a folder, but for the lock of its report."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*') if path.is_file() and path.name != '.report.json.lock')


def report(folder):
    """Return the content of the report in a folder of results."""
    return json.loads((folder / 'report.json').read_text())


def statuses(folder):
    """Return the status of each image in the report, by the name of its file."""
    return {Path(image['input']).name: image['status'] for image in report(folder)['pictures']}


def command(checkpoint, faces, out, *more):
    """Return the arguments to restore a folder of aligned faces."""
    return ['-i', str(faces), '-o', str(out), '--model_path', str(checkpoint), '--aligned', '--device', 'cpu', *more]

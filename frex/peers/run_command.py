"""Run another project's command on a folder of faces and collect its results."""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from frex.errors import FRExError
from frex.images import read_image, write_image
from frex.peers import measure_subprocess
from frex.peers.command_results import Results, choose_result, find_results, list_outputs
from frex.peers.face_folder import FaceFolder, result_name
from frex.peers.measuring import Stopwatch, maxrss_to_bytes
from frex.peers.methods import CommandMethod
from frex.peers.records import RunRecord, Seconds


def run_command(method: CommandMethod, faces: FaceFolder, images: Path) -> RunRecord:
    """Run a command on a folder with the faces that have no result, and copy its results to `images`.

    Where all faces have a result, it is run on all. Times and memory cover the whole command. Raises FRExError where the command fails,
    or writes no image that belongs to a face.
    """
    images.parent.mkdir(parents=True, exist_ok=True)
    names = faces.missing_results(images) or faces.names
    with tempfile.TemporaryDirectory(dir=images.parent, prefix='.command') as folder:
        given, outputs = Path(folder, 'input').absolute(), Path(folder, 'output').absolute()
        outputs.mkdir()
        stems = link_inputs(faces, names, given)
        watch = Stopwatch()
        memory = execute(fill_command(method.command, given, outputs))
        seconds = watch()
        images_written = list_outputs(outputs)
        if not images_written:
            raise FRExError('the command succeeded, but wrote no image to {output}')
        results, pattern = find_results(stems.values(), images_written, method.results)
        missing = copy_results(stems, results, outputs, images)
    timed = len(names) - len(missing)
    return RunRecord(
        method=method.name,
        kind='command',
        command=method.command,
        results=pattern,
        faces=len(faces.names),
        timed=timed,
        timing='command',
        seconds=Seconds(total=seconds),
        seconds_a_face=seconds / timed if timed else None,
        peak_memory_bytes=memory,
        missing=missing,
    )


def link_inputs(faces: FaceFolder, names: Iterable[str], folder: Path) -> dict[str, str]:
    """Link faces into a new flat folder, as most commands expect; return each face's name with its link's name without suffix."""
    folder.mkdir()
    stems = {name: PurePosixPath(name).with_suffix('').as_posix().replace('/', '--') for name in faces.names}
    twice = [stem for stem, count in Counter(stems.values()).items() if count > 1]
    if twice:
        raise FRExError(f'two faces would both be {twice[0]} in one folder; rename one')
    given = {name: stems[name] for name in names}
    for name, stem in given.items():
        link = folder / f'{stem}{PurePosixPath(name).suffix}'
        try:
            link.symlink_to(faces.path(name).absolute())
        except OSError:
            # Some systems and disks do not support links.
            shutil.copyfile(faces.path(name), link)
    return given


def fill_command(command: str, given: Path, outputs: Path) -> str:
    """Replace `{input}` and `{output}` by two quoted folders; everything else stays as it is, including other braces."""
    return command.replace('{input}', shlex.quote(str(given))).replace('{output}', shlex.quote(str(outputs)))


def execute(line: str) -> dict[str, int]:
    """Run a shell command of the user; return the most memory that one of its processes held, {'host': bytes}.

    This is at least the 10 MB or so of the process that starts it, and empty where the system does not report it. Raises FRExError
    where the exit status is not 0.
    """
    # Standard output is reserved for the output of `frex`.
    command = [sys.executable, '-I', '-S', measure_subprocess.__file__, line]
    answer = subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout.split()
    if not answer:
        raise FRExError(f'the process that runs the command was killed: {line}')
    status, most = map(int, answer)
    if status:
        raise FRExError(f'the command ended with status {status}: {line}')
    return maxrss_to_bytes(most) if most else {}


def copy_results(stems: Mapping[str, str], results: Results, outputs: Path, images: Path) -> dict[str, str]:
    """Copy the result of each face to `images`, as PNG; return the faces without one, with the reason."""
    missing = {}
    for name, stem in stems.items():
        try:
            write_image(images / result_name(name), read_image(outputs / choose_result(stem, results)))
        except FRExError as error:
            missing[name] = str(error).replace(f'{outputs}{os.sep}', '')
    return missing

"""Run another project's command on a folder of faces, and collect its results."""

import os
import re
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
from frex.peers.measurement import Stopwatch, maxrss_to_bytes
from frex.peers.methods import CommandMethod
from frex.peers.records import RunRecord, Seconds


def run_command(method: CommandMethod, faces: FaceFolder, images: Path) -> RunRecord:
    """Run a command on the faces that have no result in the folder `images`, and copy its results there.

    Where all faces have a result, it is run on all of them, and their results are replaced. Time and memory are those of the whole command.
    Raises FRExError where the command fails, or writes no image that is named after a face.
    """
    images.parent.mkdir(parents=True, exist_ok=True)
    names = faces.missing_results(images) or faces.names
    with tempfile.TemporaryDirectory(dir=images.parent, prefix='.command') as folder:
        inputs, outputs = Path(folder, 'input').absolute(), Path(folder, 'output').absolute()
        outputs.mkdir()
        stems = link_inputs(faces, names, inputs)
        watch = Stopwatch()
        memory = execute_command(fill_command(method.command, inputs, outputs))
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
    """Link the faces `names` into the new flat folder `folder`, which most commands expect; return each face's link name without suffix.

    Subfolders become part of the link's name. Raises FRExError where two faces would get the same name.
    """
    folder.mkdir()
    stems = {name: PurePosixPath(name).with_suffix('').as_posix().replace('/', '--') for name in faces.names}
    twice = [stem for stem, count in Counter(stems.values()).items() if count > 1]
    if twice:
        raise FRExError(f'two faces would both be {twice[0]} in one folder; rename one')
    inputs = {name: stems[name] for name in names}
    for name, stem in inputs.items():
        link = folder / f'{stem}{PurePosixPath(name).suffix}'
        try:
            link.symlink_to(faces.path(name).absolute())
        except OSError:
            # Some systems and disks do not support links.
            shutil.copyfile(faces.path(name), link)
    return inputs


def fill_command(command: str, inputs: Path, outputs: Path) -> str:
    """Return a shell command with `{input}` and `{output}` replaced by two folders, quoted for a POSIX shell; other braces stay."""
    # In one pass, since a folder's own name may contain a placeholder.
    folders = {'{input}': inputs, '{output}': outputs}
    return re.sub('{input}|{output}', lambda placeholder: shlex.quote(str(folders[placeholder[0]])), command)


def execute_command(line: str) -> dict[str, int]:
    """Run a shell command and return the most memory that one of its processes held, as {'host': bytes}.

    This is at least the 10 MB or so of the process that starts it. The dictionary is empty where the system does not report the memory.
    Raises FRExError where the exit status is not 0.
    """
    # The command's standard output goes to standard error, since standard output is for the results of `frex`.
    command = [sys.executable, '-I', '-S', measure_subprocess.__file__, line]
    answer = subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout.split()
    if not answer:
        raise FRExError(f'the process that runs the command was killed: {line}')
    status, most = map(int, answer)
    if status:
        raise FRExError(f'the command ended with status {status}: {line}')
    return maxrss_to_bytes(most) if most else {}


def copy_results(stems: Mapping[str, str], results: Results, outputs: Path, images: Path) -> dict[str, str]:
    """Copy the result of each face to the folder `images` as PNG; return the faces without one, with the reason.

    `stems` maps each face to the name of its link without suffix. `results`, from `find_results`, maps this name to the images that may be
    the result, as paths relative to `outputs`. A face has no result where there is no such image, several, or one that cannot be read.
    """
    missing = {}
    for name, stem in stems.items():
        try:
            write_image(images / result_name(name), read_image(outputs / choose_result(stem, results)))
        except FRExError as error:
            missing[name] = str(error).replace(f'{outputs}{os.sep}', '')
    return missing

"""Another project's command over a folder of faces, and its results found again."""

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
from frex.peers.command_results import Results, chosen, find_results, pictures_in
from frex.peers.face_folder import FaceFolder, result_name
from frex.peers.measuring import Stopwatch, host_memory
from frex.peers.methods import CommandMethod
from frex.peers.records import RunRecord, Seconds


def run_command(method: CommandMethod, faces: FaceFolder, images: Path) -> RunRecord:
    """Run it on a folder that holds the faces without a result and nothing else, and copy what it made of each to `images`.

    Where all have one, on all. Times and memory are of all that the command did. Raises FRExError where it fails, or makes no
    image of a face.
    """
    images.parent.mkdir(parents=True, exist_ok=True)
    names = faces.without_result(images) or faces.names
    with tempfile.TemporaryDirectory(dir=images.parent, prefix='.command') as folder:
        given, made = Path(folder, 'input').absolute(), Path(folder, 'output').absolute()
        made.mkdir()
        stems = link_inputs(faces, names, given)
        watch = Stopwatch()
        memory = execute(filled_in(method.command, given, made))
        seconds = watch()
        pictures = pictures_in(made)
        if not pictures:
            raise FRExError('the command ended well, but there is no image in {output}')
        results, pattern = find_results(stems.values(), pictures, method.results)
        missing = copy_results(stems, results, made, images)
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
    """Links to some of the faces in one flat folder, as most commands need it; name of a face -> that of its link, without suffix."""
    folder.mkdir()
    stems = {name: PurePosixPath(name).with_suffix('').as_posix().replace('/', '--') for name in faces.names}
    twice = [stem for stem, count in Counter(stems.values()).items() if count > 1]
    if twice:
        raise FRExError(f'two faces would both be {twice[0]} in one folder; rename one')
    given = {name: stems[name] for name in names}
    for name, stem in given.items():
        place = folder / f'{stem}{PurePosixPath(name).suffix}'
        try:
            place.symlink_to(faces.picture(name).absolute())
        except OSError:
            # Some systems and disks have no links.
            shutil.copyfile(faces.picture(name), place)
    return given


def filled_in(command: str, given: Path, made: Path) -> str:
    """The line with both folders in their places; all else stays as it is, other braces too."""
    return command.replace('{input}', shlex.quote(str(given))).replace('{output}', shlex.quote(str(made)))


def execute(line: str) -> dict[str, int]:
    """Have the shell run a line of the user's own; the most bytes that one of its processes held.

    It is at least the 10 MB or so of the process that starts it, and empty where the system does not tell. Raises FRExError for
    another exit status than 0.
    """
    # Standard output is for what `frex` says.
    starter = [sys.executable, '-I', '-S', measure_subprocess.__file__, line]
    answer = subprocess.run(starter, stdout=subprocess.PIPE, check=False).stdout.split()
    if not answer:
        raise FRExError(f'the process that runs the command was killed: {line}')
    status, most = map(int, answer)
    if status:
        raise FRExError(f'the command ended with status {status}: {line}')
    return host_memory(most) if most else {}


def copy_results(stems: Mapping[str, str], results: Results, made: Path, images: Path) -> dict[str, str]:
    """Copy the result of each face, as png; the faces without one, with the reason."""
    missing = {}
    for name, stem in stems.items():
        try:
            write_image(images / result_name(name), read_image(made / chosen(stem, results)))
        except FRExError as error:
            missing[name] = str(error).replace(f'{made}{os.sep}', '')
    return missing

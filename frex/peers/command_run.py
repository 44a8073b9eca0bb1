"""Another project's command over a folder of faces, and its results found again."""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from frex.data.sources import is_picture
from frex.errors import FRExError
from frex.images import read_image, write_image
from frex.peers.face_folder import FaceFolder, result_name
from frex.peers.measuring import Stopwatch, host_memory
from frex.peers.methods import CommandMethod
from frex.peers.records import RunRecord, Seconds

# Where GFPGAN and CodeFormer put the faces alone, and what GFPGAN adds to their names.
FACES_FOLDER, FACE_SUFFIX = 'restored_faces', '_00'


def run_command(method: CommandMethod, faces: FaceFolder, images: Path) -> RunRecord:
    """Run it on a folder that holds the pictures and nothing else, and copy what it made of each to `images`.

    Times and memory are of all that the command did. Raises FRExError where it fails, or makes no picture.
    """
    images.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=images.parent, prefix='.command') as folder:
        given, made = Path(folder, 'input').absolute(), Path(folder, 'output').absolute()
        made.mkdir()
        stems = lay_out(faces, given)
        watch = Stopwatch()
        memory = execute(filled_in(method.command, given, made))
        seconds = watch()
        results = _pictures_in(made)
        if not results:
            raise FRExError('the command ended well, but there is no picture in {output}')
        missing = take_over(stems, results, made, images)
    return RunRecord(
        method=method.name,
        kind='command',
        command=method.command,
        faces=len(faces.names),
        timed=len(faces.names),
        timing='command',
        seconds=Seconds(total=seconds),
        seconds_a_face=seconds / len(faces.names),
        peak_memory_bytes=memory,
        missing=missing,
    )


def lay_out(faces: FaceFolder, folder: Path) -> dict[str, str]:
    """Links to the faces in one flat folder, as most commands need it; the name of a face -> that of its link, without suffix."""
    folder.mkdir()
    stems = {name: PurePosixPath(name).with_suffix('').as_posix().replace('/', '--') for name in faces.names}
    twice = [stem for stem, count in Counter(stems.values()).items() if count > 1]
    if twice:
        raise FRExError(f'two faces would both be {twice[0]} in one folder; rename one')
    for name, stem in stems.items():
        place = folder / f'{stem}{PurePosixPath(name).suffix}'
        try:
            place.symlink_to(faces.picture(name).absolute())
        except OSError:
            # Some systems and disks have no links.
            shutil.copyfile(faces.picture(name), place)
    return stems


def filled_in(command: str, given: Path, made: Path) -> str:
    """The line with both folders in their places; all else stays as it is, other braces too."""
    return command.replace('{input}', shlex.quote(str(given))).replace('{output}', shlex.quote(str(made)))


def execute(line: str) -> dict[str, int]:
    """Have the shell run a line of the user's own; the most bytes that one of its processes held, at least what this one did.

    It is empty where the system does not tell. Raises FRExError for another exit status than 0.
    """
    # Standard output is for what `frex` says.
    process = subprocess.Popen(line, shell=True, stdout=sys.__stderr__)
    if not hasattr(os, 'wait4'):
        memory, status = {}, process.wait()
    else:
        _, code, usage = os.wait4(process.pid, 0)
        memory, status = host_memory(usage.ru_maxrss), os.waitstatus_to_exitcode(code)
        # Else it would be waited for again.
        process.returncode = status
    if status:
        raise FRExError(f'the command ended with status {status}: {line}')
    return memory


def _pictures_in(folder: Path) -> list[PurePosixPath]:
    names = (path.relative_to(folder).as_posix() for path in sorted(folder.rglob('*')) if path.is_file())
    return [PurePosixPath(name) for name in names if is_picture(name)]


def take_over(stems: Mapping[str, str], results: Sequence[PurePosixPath], made: Path, images: Path) -> dict[str, str]:
    """Copy the result of each face, as png; the faces without one, with the reason."""
    by_stem = defaultdict(list)
    for result in results:
        by_stem[result.with_suffix('').name].append(result)
    missing = {}
    for name, stem in stems.items():
        try:
            write_image(images / result_name(name), read_image(made / chosen(stem, by_stem)))
        except FRExError as error:
            missing[name] = str(error).replace(f'{made}{os.sep}', '')
    return missing


def chosen(stem: str, by_stem: Mapping[str, Sequence[PurePosixPath]]) -> PurePosixPath:
    """The picture that was made of a face: of its name, in `restored_faces` rather than elsewhere, where GFPGAN numbers it.

    Raises FRExError where there is none, or where several could be meant.
    """
    same = by_stem.get(stem, ())
    alone = [path for path in (*same, *by_stem.get(f'{stem}{FACE_SUFFIX}', ())) if FACES_FOLDER in path.parts]
    found = alone or same
    if not found:
        raise FRExError(f'the command made no picture {stem}')
    if len(found) > 1:
        raise FRExError(f'the command made several pictures of it: {", ".join(map(str, found))}')
    return found[0]

"""`frex peers`: each method over the same faces, in a process of its own, one after the other."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from filelock import FileLock, Timeout

from frex.errors import FRExError, one_line
from frex.peers.face_folder import FaceFolder
from frex.peers.methods import CommandMethod, Method, UnavailableMethod, read_methods
from frex.peers.records import PEERS, RUN, Entry, PeersRecord, RunRecord, read_peers, write_record
from frex.peers.run_command import run_command
from frex.utils.allocator import keep_freed_memory
from frex.utils.resumable import ResumableFolder
from frex.utils.text import in_columns

T = TypeVar('T')


@dataclass(frozen=True)
class PeersOptions:
    """Degraded faces `input`, the folder `output` of the results, and the methods, as `read_methods` takes them."""

    input: Path
    output: Path
    method: Sequence[str] = ()
    command: Sequence[str] = ()
    results: Sequence[str] = ()
    weights: Path | None = None
    device: str = 'auto'


def run_methods(options: PeersOptions) -> int:
    """Run what the flags name and print a table; 1 where a method could not be run or a face is without a result."""
    methods = read_methods(options.method, options.command, options.weights, options.results)
    faces = FaceFolder.open(options.input, '--input')
    entries = compare(faces, methods, options.output, options.device)
    print('\n'.join(in_columns(summary_rows(entries))))
    return int(not all(entry.is_whole for entry in entries.values()))


def compare(faces: FaceFolder, methods: Iterable[Method | UnavailableMethod], folder: Path, device: str = 'auto') -> dict[str, Entry]:
    """Write `NAME/images` and `NAME/run.json` below `folder` for each method, and `peers.json` for all; how each went.

    A method that is done, with the same settings, is not run again; of one that is not, what is missing is made. Raises FRExError
    where `folder` holds something else, the results for other faces, or the work of another process that still runs.
    """
    if folder.absolute().is_relative_to(faces.root.absolute()):
        raise FRExError(f'--output: {folder} lies in {faces.root}, whose images are restored; give another folder')
    record = _begin(folder, faces)
    asked = {method.name: method for method in methods}
    try:
        with FileLock(folder / f'.{PEERS}.lock', timeout=0):
            for name, method in asked.items():
                entry = record.methods[name] = prepare_entry(method, folder / name, record.methods.get(name), device)
                # Before its first image, so that those of a run that is broken off are known.
                write_record(folder / PEERS, record)
                if not (isinstance(method, UnavailableMethod) or entry.problem):
                    record.methods[name] = finish_entry(method, faces, folder / name, entry, device)
                    write_record(folder / PEERS, record)
                print_failures(name, record.methods[name])
    except Timeout:
        raise FRExError(f'{folder}: another process is at work there') from None
    except OSError as error:
        raise FRExError(f'{folder}: cannot be written ({error})') from None
    return {name: record.methods[name] for name in asked}


def _begin(folder: Path, faces: FaceFolder) -> PeersRecord:
    asked = PeersRecord(pictures=len(faces.names), input_sha256=faces.digest())
    record = read_peers(folder)
    if record is None:
        ResumableFolder(folder, PEERS).refuse_other_files()
        write_record(folder / PEERS, asked)
        return asked
    if record.input_sha256 != asked.input_sha256:
        raise FRExError(f'--output: {folder} has results for other faces ({record.pictures} images); give a new folder')
    return record


def prepare_entry(method: Method | UnavailableMethod, folder: Path, before: Entry | None, device: str) -> Entry:
    """Of a method before it is run: with a problem where it cannot be, whole where it is done."""
    if isinstance(method, UnavailableMethod):
        return msgspec.structs.replace(before or Entry(), problem=method.reason)
    settings = {**method.settings(), **({} if isinstance(method, CommandMethod) else {'device': device})}
    # Of one that failed at once nothing is there that could be mixed up.
    if before is None or not (folder / 'images').exists():
        return Entry(settings=settings)
    changed = [key for key in before.settings | settings if before.settings.get(key) != settings.get(key)]
    problem = f'was begun with another {", ".join(changed)}; give it a new name' if changed else None
    return msgspec.structs.replace(before, problem=problem)


def finish_entry(method: Method, faces: FaceFolder, folder: Path, entry: Entry, device: str) -> Entry:
    """Of a method after it was run, unless all is there, whatever the record tells."""
    try:
        run = entry.run
        if run is None or run.missing or faces.without_result(folder / 'images'):
            run = keep_best_timing(run, _run(method, faces, folder, device))
        write_record(folder / RUN, run)
    except BrokenProcessPool:
        return msgspec.structs.replace(entry, problem='its process was killed, as systems do that are out of memory')
    except (FRExError, RuntimeError) as error:
        return msgspec.structs.replace(entry, problem=one_line(str(error)) or type(error).__name__)
    return msgspec.structs.replace(entry, run=run)


def keep_best_timing(before: RunRecord | None, run: RunRecord) -> RunRecord:
    """A run that made what an earlier one had to leave out has fewer faces to take its time from."""
    return run if before is None or run.timed >= before.timed else msgspec.structs.replace(before, missing=run.missing)


def _run(method: Method, faces: FaceFolder, folder: Path, device: str) -> RunRecord:
    images = folder / 'images'
    if isinstance(method, CommandMethod):
        return run_command(method, faces, images)
    # Imports torch, which would count as the memory of commands.
    return _in_its_own_process(_run_network, method, faces, images, device)


def _run_network(*arguments: Any) -> RunRecord:
    from frex.peers.run_network import run_network

    return run_network(*arguments)


def _in_its_own_process(function: Callable[..., T], *arguments: Any) -> T:
    # A spawned process does not have what this one's allocator was told.
    with ProcessPoolExecutor(1, mp_context=get_context('spawn'), initializer=keep_freed_memory) as pool:
        return pool.submit(function, *arguments).result()


PLACES = ('host', 'GPU')
OF_COMMANDS = 'time with its start; memory of its largest process, GPU not measured'


def print_failures(name: str, entry: Entry) -> None:
    """On standard error: why a method was not run, and the faces that it made nothing of."""
    if entry.problem:
        print(f'{name}: {entry.problem}', file=sys.stderr)
    for face, reason in (entry.run.missing if entry.run else {}).items():
        print(f'{name}: {face}: {one_line(reason)}', file=sys.stderr)


def summary_rows(entries: Mapping[str, Entry]) -> list[list[str]]:
    """A row a method, after that of titles."""
    rows = [['method', 'faces', 'seconds a face', *(f'{place} memory' for place in PLACES), '']]
    for name, entry in entries.items():
        run = entry.run
        if run is None:
            rows.append([name, '-', '-', '-', '-', 'not run'])
            continue
        note = OF_COMMANDS if run.timing == 'command' else ''
        seconds = '-' if run.seconds_a_face is None else f'{run.seconds_a_face:.3f}'
        made = f'{run.faces - len(run.missing)} of {run.faces}'
        rows.append([name, made, seconds, *(_gigabytes(run.peak_memory_bytes.get(place)) for place in PLACES), note])
    return rows


def _gigabytes(number: int | None) -> str:
    return '-' if number is None else f'{number / 1e9:.2f} GB'

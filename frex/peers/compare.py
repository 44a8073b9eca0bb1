"""`frex peers`: run each method on the same faces, one after the other, each in a process of its own."""

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
from frex.peers.records import PEERS, RUN, MethodEntry, PeersRecord, RunRecord, read_peers, write_record
from frex.peers.run_command import run_command
from frex.utils.allocator import keep_freed_memory
from frex.utils.resumable import ResumableFolder
from frex.utils.text import in_columns

T = TypeVar('T')


@dataclass(frozen=True)
class PeersOptions:
    """The folder `input` of degraded faces, the folder `output` of the results, and the methods.

    `method`, `command`, `results` and `weights` are the arguments `networks`, `commands`, `results` and `weights` of `read_methods`.
    `device` is that of the networks; commands choose their own.
    """

    input: Path
    output: Path
    method: Sequence[str] = ()
    command: Sequence[str] = ()
    results: Sequence[str] = ()
    weights: Path | None = None
    device: str = 'auto'


def run_methods(options: PeersOptions) -> int:
    """Run the methods and print a table; return 1 where a method could not be run or a face has no result, else 0."""
    methods = read_methods(options.method, options.command, options.weights, options.results)
    faces = FaceFolder.open(options.input, '--input')
    entries = compare(faces, methods, options.output, options.device)
    print('\n'.join(in_columns(format_summary_rows(entries))))
    return int(not all(entry.is_complete for entry in entries.values()))


def compare(faces: FaceFolder, methods: Iterable[Method | UnavailableMethod], folder: Path, device: str = 'auto') -> dict[str, MethodEntry]:
    """Write `NAME/images` and `NAME/run.json` below `folder` for each method, and `peers.json` for all; return each method's entry by name.

    A complete method with the same settings is not run again; where results are missing, only those are computed. A method that fails does
    not stop the others; its entry and standard error say why. Raises FRExError where `folder` lies in that of `faces`, holds something else
    or results of other faces, or where another process is writing there.
    """
    if folder.absolute().is_relative_to(faces.root.absolute()):
        raise FRExError(f'--output: {folder} lies in {faces.root}, whose images are restored; give another folder')
    record = _open_record(folder, faces)
    by_name = {method.name: method for method in methods}
    try:
        with FileLock(folder / f'.{PEERS}.lock', timeout=0):
            for name, method in by_name.items():
                entry = record.methods[name] = prepare_entry(method, folder / name, record.methods.get(name), device)
                # Write the record before the first image, so that the images of an interrupted run are known.
                write_record(folder / PEERS, record)
                if not (isinstance(method, UnavailableMethod) or entry.problem):
                    record.methods[name] = finish_entry(method, faces, folder / name, entry, device)
                    write_record(folder / PEERS, record)
                print_failures(name, record.methods[name])
    except Timeout:
        raise FRExError(f'{folder}: another process is at work there') from None
    except OSError as error:
        raise FRExError(f'{folder}: cannot be written ({error})') from None
    return {name: record.methods[name] for name in by_name}


def _open_record(folder: Path, faces: FaceFolder) -> PeersRecord:
    """Return the record `peers.json` of `folder`, a new one where there is none; raise FRExError where its results are of other faces."""
    new = PeersRecord(pictures=len(faces.names), input_sha256=faces.digest())
    record = read_peers(folder)
    if record is None:
        ResumableFolder(folder, PEERS).refuse_other_files()
        write_record(folder / PEERS, new)
        return new
    if record.input_sha256 != new.input_sha256:
        raise FRExError(f'--output: {folder} has results for other faces ({record.pictures} images); give a new folder')
    return record


def prepare_entry(method: Method | UnavailableMethod, folder: Path, previous: MethodEntry | None, device: str) -> MethodEntry:
    """Return the entry of a method before it runs; its `problem` says why it cannot run.

    `previous` is its entry of an earlier run, None where there is none. `folder` is the method's own.
    """
    if isinstance(method, UnavailableMethod):
        return msgspec.structs.replace(previous or MethodEntry(), problem=method.reason)
    settings = {**method.settings(), **({} if isinstance(method, CommandMethod) else {'device': device})}
    # A method that failed before its first image left nothing that could be mixed up with new results.
    if previous is None or not (folder / 'images').exists():
        return MethodEntry(settings=settings)
    changed = [key for key in previous.settings | settings if previous.settings.get(key) != settings.get(key)]
    problem = f'was begun with another {", ".join(changed)}; give it a new name' if changed else None
    return msgspec.structs.replace(previous, problem=problem)


def finish_entry(method: Method, faces: FaceFolder, folder: Path, entry: MethodEntry, device: str) -> MethodEntry:
    """Run a method on the faces that have no result yet, and return its entry; where it fails, `problem` of the entry says why.

    `folder` is the method's own: results go to its folder `images`, the record of the run to `run.json`. `entry` is the one so far,
    without a problem. A method that has a record of a run and all results is not run again.
    """
    try:
        run = entry.run
        if run is None or run.missing or faces.missing_results(folder / 'images'):
            run = keep_best_timing(run, _run_method(method, faces, folder, device))
        write_record(folder / RUN, run)
    except BrokenProcessPool:
        return msgspec.structs.replace(entry, problem='its process was killed, probably because memory ran out')
    except (FRExError, RuntimeError) as error:
        return msgspec.structs.replace(entry, problem=one_line(str(error)) or type(error).__name__)
    return msgspec.structs.replace(entry, run=run)


def keep_best_timing(previous: RunRecord | None, run: RunRecord) -> RunRecord:
    """Return the run to record: `run`, or where `previous` timed more faces, `previous` with its `missing` replaced by that of `run`."""
    return run if previous is None or run.timed >= previous.timed else msgspec.structs.replace(previous, missing=run.missing)


def _run_method(method: Method, faces: FaceFolder, folder: Path, device: str) -> RunRecord:
    """Run a method on the faces that have no result in `folder/images`, write the results there, and return the record of this run.

    Where all faces have a result, a command is run on all of them again, and a network is only loaded. Raises FRExError and RuntimeError
    as `run_command` and `run_network` do, and BrokenProcessPool where the process of a network is killed.
    """
    images = folder / 'images'
    if isinstance(method, CommandMethod):
        return run_command(method, faces, images)
    # The network runs in a new process: torch, imported here, would count as memory of the commands.
    return _run_in_new_process(_run_network, method, faces, images, device)


def _run_network(*arguments: Any) -> RunRecord:
    """Call `run_network`. It is imported here, so that only the new process imports torch."""
    from frex.peers.run_network import run_network

    return run_network(*arguments)


def _run_in_new_process(function: Callable[..., T], *arguments: Any) -> T:
    """Return the result of `function`, called in a new process that ends with it; raise its exception where it raises one.

    `function`, its arguments and its result are pickled. Raises BrokenProcessPool where the process is killed.
    """
    # A spawned process does not inherit the settings of the allocator.
    with ProcessPoolExecutor(1, mp_context=get_context('spawn'), initializer=keep_freed_memory) as pool:
        return pool.submit(function, *arguments).result()


MEMORY_KINDS = ('host', 'GPU')
# Says in the table what is different for commands.
COMMAND_NOTE = 'time with its start; memory of its largest process, GPU not measured'


def print_failures(name: str, entry: MethodEntry) -> None:
    """Print on standard error why a method did not run, and which faces have no result."""
    if entry.problem:
        print(f'{name}: {entry.problem}', file=sys.stderr)
    for face, reason in (entry.run.missing if entry.run else {}).items():
        print(f'{name}: {face}: {one_line(reason)}', file=sys.stderr)


def format_summary_rows(entries: Mapping[str, MethodEntry]) -> list[list[str]]:
    """Return the cells of the table: a row of titles, then one row per method."""
    rows = [['method', 'faces', 'seconds a face', *(f'{kind} memory' for kind in MEMORY_KINDS), '']]
    for name, entry in entries.items():
        run = entry.run
        if run is None:
            rows.append([name, '-', '-', '-', '-', 'not run'])
            continue
        note = COMMAND_NOTE if run.timing == 'command' else ''
        seconds = '-' if run.seconds_a_face is None else f'{run.seconds_a_face:.3f}'
        restored = f'{run.faces - len(run.missing)} of {run.faces}'
        rows.append([name, restored, seconds, *(_format_gigabytes(run.peak_memory_bytes.get(kind)) for kind in MEMORY_KINDS), note])
    return rows


def _format_gigabytes(number: int | None) -> str:
    """Format a number of bytes with its unit, such as `1.25 GB`, of 10^9 bytes; None, which is unknown, becomes `-`."""
    return '-' if number is None else f'{number / 1e9:.2f} GB'

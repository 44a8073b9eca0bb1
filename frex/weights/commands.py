"""List, download, check and convert weight files: the sub-commands of `frex weights`. Each returns the exit status."""

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from frex.errors import FRExError
from frex.utils.files import sha256
from frex.utils.text import in_columns
from frex.weights import small_model
from frex.weights.download import Unreachable, fetch
from frex.weights.locate import FileStatus, WeightFileStatus, download_dir, find_file, has_file, require_file, search_paths
from frex.weights.manifest import WeightFile, entry, manifest, needed_for


@dataclass(frozen=True)
class ListOptions:
    """List the files that `task` needs, by default all; the folder `weights` is searched first."""

    task: str | None = None
    weights: Path | None = None


@dataclass(frozen=True)
class DownloadOptions:
    """Download the files with the keys `names` and those that `task` needs into the folder `weights`.

    The addresses `mirror` are tried first; with `offline` nothing is downloaded.
    """

    names: tuple[str, ...] = ()
    task: str | None = None
    weights: Path | None = None
    mirror: tuple[str, ...] = ()
    offline: bool = False


@dataclass(frozen=True)
class CheckOptions:
    """Check the files `names`, keys or paths, and those that `task` needs; without both, all that are there."""

    names: tuple[str, ...] = ()
    task: str | None = None
    weights: Path | None = None
    param_key: str = 'params_ema'


@dataclass(frozen=True, kw_only=True)
class WriteOptions:
    """Make the `.safetensors` file `target` from the network `source`, a key or a path."""

    source: str
    target: Path
    weights: Path | None = None
    param_key: str = 'params_ema'
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class ConvertOptions(WriteOptions):
    """Convert the network; with `half` to half precision."""

    half: bool = False


@dataclass(frozen=True, kw_only=True)
class GrowOptions(WriteOptions):
    """Grow a FREx to twice its size, with `channels` channels at the new size."""

    channels: int | None = None


def list_files(options: ListOptions) -> int:
    """Print a table of the files, with what each is for and whether it is there."""
    listed = [table_row(find_file(file, options.weights)) for file in needed_for(options.task)]
    if options.task in (None, 'restore'):
        listed.insert(0, small_model_row())
    head, *lines = in_columns([('KEY', 'STATE', 'BYTES', 'FOR', 'WHAT FOR', 'LICENCE'), *(row for row, _ in listed)])
    print(head)
    for line, (_, place) in zip(lines, listed, strict=True):
        print(line)
        if place:
            print(f'    {place}')
    print(f'searched in this order: {", ".join(map(str, search_paths(options.weights)))}')
    print('get what is missing or damaged with: frex weights download KEY, or --for train, restore or evaluate')
    return 0


def table_row(status: WeightFileStatus) -> tuple[tuple[str, ...], str]:
    """Return the table's row for a file, and its path with what is wrong with it; the path is empty where the file is missing."""
    file, state, path, detail = status
    size = f'{file.size:,}' if file.size else '?'
    row = (file.key, state.value, size, ', '.join(file.tasks) or '-', file.purpose, file.licence)
    return row, '' if path is None else f'{path}{f": {detail}" if detail else ""}'


def small_model_row() -> tuple[tuple[str, ...], str]:
    """Return the table's row for the model that comes with the package, which is not in the manifest, and its path."""
    path = small_model.PATH
    is_there = path.is_file()
    size = f'{path.stat().st_size:,}' if is_there else '?'
    state = FileStatus.THERE if is_there else FileStatus.MISSING
    row = (small_model.KEY, state.value, size, 'restore', small_model.PURPOSE, 'see docs/model_card.md')
    return row, str(path) if is_there else 'it comes with the package and cannot be downloaded; this installation lacks it'


def download(options: DownloadOptions) -> int:
    """Download the chosen files that are not there, and print where each lies.

    For a file that cannot be downloaded, print a line with all that is needed to get it by hand. Raises FRExError where one is missing at
    the end.
    """
    files = select_files(options.names, options.task)
    folder = download_dir(options.weights).absolute()
    print(f'into {folder}')
    if folder not in [place.absolute() for place in search_paths()]:
        print(f'training looks there after: export FREX_HOME={shlex.quote(str(folder))}')
    missing = []
    for file in files:
        try:
            path, how = fetch(file, options.weights, options.mirror, offline=options.offline)
        except Unreachable as error:
            missing.append(file)
            print(describe_manual_download(file, error.answers, folder), file=sys.stderr)
        else:
            print(f'{file.key}: {path} ({how}; licence: {file.licence})')
    if missing:
        reason = 'with --offline nothing is fetched' if options.offline else 'no address gave them; try --mirror URL'
        raise FRExError(f'{len(missing)} of {len(files)} files are not there: {reason}, or put them into {folder}')
    return 0


def describe_manual_download(file: WeightFile, answers: dict[str, str], folder: Path) -> str:
    """Return a line with all that is needed to get a file by hand; `answers` are the addresses with what each answered."""
    addresses = ', '.join(f'{url} ({answer})' for url, answer in answers.items())
    return f'{file.file}: {file.described_size}, sha256 {file.described_sum}, from {addresses}; put it into {folder}'


def select_files(names: Sequence[str], task: str | None) -> list[WeightFile]:
    """Return the files with the keys `names` and those that `task` needs, each once.

    Raises FRExError where neither is given, for an unknown key, and for the small model, which is not downloaded.
    """
    if not names and task is None:
        raise FRExError(f'say which: --for train, restore or evaluate, or some of: {", ".join(manifest())}')
    if small_model.KEY in names:
        raise FRExError(f'{small_model.KEY} comes with the package: it cannot be downloaded')
    files = [entry(name) for name in names] + (needed_for(task) if task else [])
    return list({file.key: file for file in files}.values())


def check(options: CheckOptions) -> int:
    """Check that each chosen file is there and undamaged, and that the networks which FREx builds can be built from it.

    Prints a line for each file. Raises FRExError where a file fails, or there is none.
    """
    needed = [file.key for file in needed_for(options.task)] if options.task else []
    names = [*options.names, *needed] or [file.key for file in needed_for(None) if has_file(file.key, options.weights)]
    if not names:
        raise FRExError(
            f'no file of weights in {", ".join(map(str, search_paths(options.weights)))}; get them with: frex weights download --for train'
        )
    bad = 0
    for name in names:
        try:
            path = require_file(name, options.weights)
            print(f'{"" if name == str(path) else f"{name}: "}{path}: {describe(name, path, options.param_key)}')
        except FRExError as error:
            bad += 1
            print(error, file=sys.stderr)
    if bad:
        raise FRExError(f'{bad} of {len(names)} files cannot be used')
    return 0


def describe(name: str, path: Path, param_key: str) -> str:
    """Return what an undamaged file holds, for the user; raise FRExError where its network cannot be built.

    `name` is the key or path by which it was found, and `param_key` names the weights in a checkpoint.
    """
    from frex.weights.eg3d_layout import lacks_camera
    from frex.weights.network_file import BUILT, check_network, read_network

    # Where `name` is a key, `require_file` has verified the file.
    known = name if name in manifest() else find_key(path)
    if known is not None and known not in BUILT:
        return 'whole' if known == name else f'whole, it is {known}'
    network = read_network(path, param_key)
    check_network(network, str(path))
    parameters = sum(value.numel() for value in network.state.values())
    origin = f'it is {known}' if known else 'its sum is not in the manifest'
    note = '; its mapping ignores the camera' if network.kind == 'EG3D' and lacks_camera(network.state) else ''
    return f'{network.kind} with {len(network.state)} tensors, {parameters / 1e6:.1f} M weights; {origin}{note}'


def find_key(path: Path) -> str | None:
    """Return the manifest's key of the file whose checksum is that of `path`; None where there is none."""
    digest = sha256(path)
    return next((file.key for file in manifest().values() if file.sha256 and file.has_sum(digest)), None)


def _check_target(options: WriteOptions) -> None:
    if options.target.suffix != '.safetensors':
        raise FRExError(f'{options.target}: give a name that ends in .safetensors')
    if os.path.lexists(options.target) and not options.overwrite:
        raise FRExError(f'{options.target}: is there already; --overwrite replaces it')


def convert(options: ConvertOptions) -> int:
    """Write a network as a `.safetensors` file that also holds its constructor arguments; raise FRExError where that fails."""
    from frex.weights.network_file import check_network, read_network, save_safetensors

    _check_target(options)
    source = require_file(options.source, options.weights)
    network = read_network(source, options.param_key)
    check_network(network, str(source))
    save_safetensors(options.target, network, half=options.half)
    precision = f', in half precision, {options.target.stat().st_size:,} bytes' if options.half else ''
    print(f'{options.target}: {network.kind} of {source}{precision}')
    return 0


def grow_network(options: GrowOptions) -> int:
    """Write a FREx of twice the size of a trained one as a `.safetensors` file; raise FRExError where that fails."""
    from frex.weights.grow import grow
    from frex.weights.network_file import read_network, save_safetensors

    _check_target(options)
    source = require_file(options.source, options.weights)
    network = grow(read_network(source, options.param_key), options.channels, str(source))
    save_safetensors(options.target, network)
    size = network.arguments['out_size']
    print(f'{options.target}: FREx at {size} x {size}, grown from {source}')
    return 0

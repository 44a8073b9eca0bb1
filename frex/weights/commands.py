"""The sub-commands of `frex weights`, which list, download, check, make and push weight files. Each returns the exit status."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from frex.errors import FRExError
from frex.utils.files import check_not_existing, sha256
from frex.utils.text import in_columns
from frex.weights import hub, small_model
from frex.weights.download import Unreachable, describe_manual_download, fetch
from frex.weights.locate import FileStatus, WeightFileStatus, download_dir, find_file, has_file, require_file, search_paths
from frex.weights.manifest import WeightFile, files_for_task, find_entry, manifest


@dataclass(frozen=True)
class ListOptions:
    """Options of `frex weights list`: list the files that `task` needs, or all if it is None.

    The folder `weights` is searched first, then the others of `search_paths`.
    """

    task: str | None = None
    weights: Path | None = None


@dataclass(frozen=True)
class DownloadOptions:
    """Options of `frex weights download`: get the files with the keys `names` and those that `task` needs; one of the two must be given.

    Downloads go into `download_dir(weights)`. A file that lies undamaged in another of `search_paths(weights)` stays there. `mirror` are
    URLs of folders, tried before the manifest's URLs. With `offline` nothing is downloaded, and missing files are reported.
    """

    names: tuple[str, ...] = ()
    task: str | None = None
    weights: Path | None = None
    mirror: tuple[str, ...] = ()
    offline: bool = False


@dataclass(frozen=True)
class CheckOptions:
    """Options of `frex weights check`: check the files `names` (see `require_file`) and those that `task` needs.

    Without both, all files of the manifest that lie in a searched folder are checked. `weights` is the folder searched first, `param_key`
    the key of the weights in checkpoints of training.
    """

    names: tuple[str, ...] = ()
    task: str | None = None
    weights: Path | None = None
    param_key: str = 'params_ema'


@dataclass(frozen=True, kw_only=True)
class WriteOptions:
    """What `frex weights convert`, `grow` and `interpolate` have in common: they read `source` (see `require_file`) and write `target`.

    The name of `target` must end in `.safetensors`. An existing file is replaced with `overwrite`, else it is an error. `weights` is the
    folder searched first, `param_key` the key of the weights in a checkpoint of training.
    """

    source: str
    target: Path
    weights: Path | None = None
    param_key: str = 'params_ema'
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class ConvertOptions(WriteOptions):
    """Options of `frex weights convert`; `half` stores float16."""

    half: bool = False


@dataclass(frozen=True, kw_only=True)
class GrowOptions(WriteOptions):
    """Options of `frex weights grow`; `channels` are the channels at the new size (see `grow`)."""

    channels: int | None = None


@dataclass(frozen=True, kw_only=True)
class InterpolateOptions(WriteOptions):
    """Options of `frex weights interpolate`: make the network between `source` and `second`, which is named in the same ways.

    `interpolate` says what `ratio` is. `half` stores float16.
    """

    second: str
    ratio: float = 0.5
    half: bool = False


@dataclass(frozen=True, kw_only=True)
class PushOptions:
    """Options of `frex weights push`: the FREx `checkpoint` (see `require_file`), and the `repository` of the Hub, `owner/name`.

    `half` stores float16. `private` makes a new repository private; it is an error for a public one that exists. `license` is an
    identifier of the Hub, for the model card. `revision` is the branch, None for the main one. The weights in the repository are always
    replaced, its model card only with `overwrite`. `weights` and `param_key` are those of `WriteOptions`.
    """

    checkpoint: str
    repository: str
    weights: Path | None = None
    param_key: str = 'params_ema'
    half: bool = False
    private: bool = False
    license: str | None = None
    revision: str | None = None
    overwrite: bool = False


def list_files(options: ListOptions) -> int:
    """Print a table of weight files with their state, size, purpose and licence; return 0."""
    listed = [table_row(find_file(file, options.weights)) for file in files_for_task(options.task)]
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
    """Return a file's row of the table, and a line with its path and what is wrong with it; the line is empty for a missing file."""
    file, state, path, detail = status
    size = f'{file.size:,}' if file.size else '?'
    row = (file.key, state.value, size, ', '.join(file.tasks) or '-', file.purpose, file.licence)
    return row, '' if path is None else f'{path}{f": {detail}" if detail else ""}'


def small_model_row() -> tuple[tuple[str, ...], str]:
    """Return the row of the table, and a line with the path, of the small FREx, which comes with the package and is not in the manifest."""
    path = small_model.PATH
    is_there = path.is_file()
    size = f'{path.stat().st_size:,}' if is_there else '?'
    state = FileStatus.THERE if is_there else FileStatus.MISSING
    row = (small_model.KEY, state.value, size, 'restore', small_model.PURPOSE, 'see docs/model_card.md')
    return row, str(path) if is_there else 'it comes with the package and cannot be downloaded; this installation lacks it'


def download(options: DownloadOptions) -> int:
    """Download the chosen files that are missing or damaged, print the path of each file, and return 0.

    For a file that no URL gives, or that is not there with `offline`, a line on stderr says how to get it by hand. In that case FRExError
    is raised at the end, when all other files have been tried.
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


def select_files(names: Sequence[str], task: str | None) -> list[WeightFile]:
    """Return the manifest's files with the keys `names` and those that `task` needs, each once.

    Raises FRExError where neither is given, for an unknown key, and for the small FREx, which cannot be downloaded.
    """
    if not names and task is None:
        raise FRExError(f'say which: --for train, restore or evaluate, or some of: {", ".join(manifest())}')
    if small_model.KEY in names:
        raise FRExError(f'{small_model.KEY} comes with the package: it cannot be downloaded')
    files = [find_entry(name) for name in names] + (files_for_task(task) if task else [])
    return list({file.key: file for file in files}.values())


def check(options: CheckOptions) -> int:
    """Check that each chosen file is there and undamaged and, for networks that FREx builds, that its weights fit and are finite; return 0.

    A line is printed for each file, on stderr for one that fails. Raises FRExError at the end where a file has failed, and at once where
    nothing was chosen and no file is found.
    """
    needed = [file.key for file in files_for_task(options.task)] if options.task else []
    names = [*options.names, *needed] or [file.key for file in files_for_task(None) if has_file(file.key, options.weights)]
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
    """Return, for people, what an undamaged file holds; raise FRExError where it holds no network, or weights that do not fit it.

    `name` is the key or path that the user gave for `path`, `param_key` the key of the weights in a checkpoint of training.
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
    """Return the key of the manifest's file that has the checksum of the file `path`; None if there is none."""
    size = path.stat().st_size
    # A file that none of them can be is not hashed, which may take long.
    possible = [file for file in manifest().values() if file.sha256 and file.may_have_size(size)]
    digest = sha256(path) if possible else ''
    return next((file.key for file in possible if file.has_sum(digest)), None)


def _check_target(options: WriteOptions) -> None:
    """Raise FRExError where the target has another suffix than `.safetensors`, or exists and may not be overwritten."""
    if options.target.suffix != '.safetensors':
        raise FRExError(f'{options.target}: give a name that ends in .safetensors')
    check_not_existing(options.target, options.overwrite)


def convert(options: ConvertOptions) -> int:
    """Write a network as a `.safetensors` file with its class and constructor arguments, and return 0; raise FRExError on failure."""
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
    """Write a FREx grown to twice its size (see `grow`) as a `.safetensors` file, and return 0; raise FRExError on failure."""
    from frex.weights.grow import grow
    from frex.weights.network_file import read_network, save_safetensors

    _check_target(options)
    source = require_file(options.source, options.weights)
    network = grow(read_network(source, options.param_key), options.channels, str(source))
    save_safetensors(options.target, network)
    size = network.arguments['out_size']
    print(f'{options.target}: FREx at {size} x {size}, grown from {source}')
    return 0


def interpolate_networks(options: InterpolateOptions) -> int:
    """Write the network between two (see `interpolate`) as a `.safetensors` file, and return 0; raise FRExError on failure."""
    from frex.weights.interpolate import interpolate
    from frex.weights.network_file import read_network, save_safetensors

    _check_target(options)
    first, second = (require_file(name, options.weights) for name in (options.source, options.second))
    begin, end = (read_network(path, options.param_key) for path in (first, second))
    network = interpolate(begin, end, options.ratio, f'{first}, {second}')
    save_safetensors(options.target, network, half=options.half)
    print(f'{options.target}: {network.kind}, {1 - options.ratio:g} of {first} and {options.ratio:g} of {second}')
    return 0


def push(options: PushOptions) -> int:
    """Upload a FREx as `model.safetensors` with a model card to the Hugging Face Hub, and return 0; raise FRExError on failure."""
    from frex.weights.model_card import check_license, write_card
    from frex.weights.network_file import check_network, read_network, save_safetensors

    repository = hub.check_push(options.repository)
    if options.revision is not None:
        repository = repository._replace(revision=options.revision)
    license_id = check_license(options.license)
    source = require_file(options.checkpoint, options.weights)
    network = read_network(source, options.param_key)
    if network.kind != 'FREx':
        raise FRExError(f'{source}: not a FREx checkpoint but the weights of {network.kind}; only a FREx is pushed')
    check_network(network, str(source))
    card = write_card(network, repository, license_id, options.half)
    with TemporaryDirectory(prefix='frex-push-') as folder:
        file = Path(folder, hub.WEIGHTS)
        save_safetensors(file, network, half=options.half)
        size = file.stat().st_size
        url, with_card = hub.upload(repository, file, card, private=options.private, overwrite=options.overwrite)
    precision = ', in half precision' if options.half else ''
    about = f'and {hub.CARD}' if with_card else f'(it has a {hub.CARD}; --overwrite replaces it)'
    print(f'{url}: FREx of {source}{precision}, {size:,} bytes {about}')
    print(f'load it with: frex restore --model_path {repository} ...')
    return 0

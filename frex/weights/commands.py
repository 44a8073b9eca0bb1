"""`frex weights`: what each sub-command does."""

import os
import shlex
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from frex.errors import FRExError
from frex.utils.files import sha256
from frex.utils.text import in_columns
from frex.weights import small_model
from frex.weights.download import Unreachable, fetch
from frex.weights.locate import FileStatus, WeightFileStatus, download_dir, find_file, require_file, search_paths
from frex.weights.manifest import WeightFile, entry, manifest, needed_for


def list_files(args: Namespace) -> int:
    """A table of the files, what each is for, and whether it is there."""
    listed = [listed_file(find_file(file, args.weights)) for file in needed_for(args.task)]
    if args.task in (None, 'restore'):
        listed.insert(0, listed_small_model())
    head, *lines = in_columns([('KEY', 'STATE', 'BYTES', 'FOR', 'WHAT FOR', 'LICENCE'), *(row for row, _ in listed)])
    print(head)
    for line, (_, place) in zip(lines, listed, strict=True):
        print(line)
        if place:
            print(f'    {place}')
    print(f'searched in this order: {", ".join(map(str, search_paths(args.weights)))}')
    print('get what is missing or damaged with: frex weights download KEY, or --for train, restore or evaluate')
    return 0


def listed_file(finding: WeightFileStatus) -> tuple[tuple[str, ...], str]:
    """Return the row of a file, and where it lies, with what is wrong with it."""
    file, state, path, detail = finding
    size = f'{file.size:,}' if file.size else '?'
    row = (file.key, state.value, size, ', '.join(file.tasks) or '-', file.purpose, file.licence)
    return row, '' if path is None else f'{path}{f": {detail}" if detail else ""}'


def listed_small_model() -> tuple[tuple[str, ...], str]:
    """Return the row of the model that comes with the package, which the manifest does not have, and where it lies."""
    path = small_model.PATH
    is_there = path.is_file()
    size = f'{path.stat().st_size:,}' if is_there else '?'
    state = FileStatus.THERE if is_there else FileStatus.MISSING
    row = (small_model.KEY, state.value, size, 'restore', small_model.PURPOSE, 'see docs/model_card.md')
    return row, str(path) if is_there else 'it comes with the package and cannot be downloaded; this installation lacks it'


def download(args: Namespace) -> int:
    """Fetch what is asked for and not there; what cannot be had is told, one line a file, with all that is needed to get it by hand."""
    files = asked(args.names, args.task)
    folder = download_dir(args.weights).absolute()
    print(f'into {folder}')
    if folder not in [place.absolute() for place in search_paths()]:
        print(f'training looks there after: export FREX_HOME={shlex.quote(str(folder))}')
    missing = []
    for file in files:
        try:
            path, how = fetch(file, args.weights, args.mirror, offline=args.offline)
        except Unreachable as error:
            missing.append(file)
            print(by_hand(file, error.answers, folder), file=sys.stderr)
        else:
            print(f'{file.key}: {path} ({how}; licence: {file.licence})')
    if missing:
        reason = 'with --offline nothing is fetched' if args.offline else 'no address gave them; try --mirror URL'
        raise FRExError(f'{len(missing)} of {len(files)} files are not there: {reason}, or put them into {folder}')
    return 0


def by_hand(file: WeightFile, answers: dict[str, str], folder: Path) -> str:
    """All that one needs to get a file by other means, in one line."""
    addresses = ', '.join(f'{url} ({answer})' for url, answer in answers.items())
    return f'{file.file}: {file.described_size}, sha256 {file.described_sum}, from {addresses}; put it into {folder}'


def asked(names: Sequence[str], task: str | None) -> list[WeightFile]:
    """Files by key and by task, each once; raises FRExError where nothing is asked for."""
    if not names and task is None:
        raise FRExError(f'say which: --for train, restore or evaluate, or some of: {", ".join(manifest())}')
    if small_model.KEY in names:
        raise FRExError(f'{small_model.KEY} comes with the package: it cannot be downloaded')
    files = [entry(name) for name in names] + (needed_for(task) if task else [])
    return list({file.key: file for file in files}.values())


def check(args: Namespace) -> int:
    """Status 1 unless all that is asked for is there and whole; networks that FREx builds must also fit, key by key."""
    wanted = [file.key for file in needed_for(args.task)] if args.task else []
    names = [*args.names, *wanted] or [
        file.key for file in needed_for(None) if find_file(file, args.weights).state is not FileStatus.MISSING
    ]
    if not names:
        raise FRExError(
            f'no file of weights in {", ".join(map(str, search_paths(args.weights)))}; get them with: frex weights download --for train'
        )
    bad = 0
    for name in names:
        try:
            path = require_file(name, args.weights)
            print(f'{"" if name == str(path) else f"{name}: "}{path}: {describe(name, path, args.param_key)}')
        except FRExError as error:
            bad += 1
            print(error, file=sys.stderr)
    if bad:
        raise FRExError(f'{bad} of {len(names)} files cannot be used')
    return 0


def describe(name: str, path: Path, param_key: str) -> str:
    """What a whole file holds; raises FRExError where its network cannot be built."""
    from frex.weights.eg3d_layout import lacks_camera
    from frex.weights.network_file import BUILT, check_network, read_network

    # `require_file` has verified what is named by its key.
    known = name if name in manifest() else key_of(path)
    if known is not None and known not in BUILT:
        return 'whole' if known == name else f'whole, it is {known}'
    network = read_network(path, param_key)
    check_network(network, str(path))
    weights = sum(value.numel() for value in network.state.values())
    whose = f'it is {known}' if known else 'its sum is not in the manifest'
    note = '; its mapping ignores the camera' if network.kind == 'EG3D' and lacks_camera(network.state) else ''
    return f'{network.kind} with {len(network.state)} tensors, {weights / 1e6:.1f} M weights; {whose}{note}'


def key_of(path: Path) -> str | None:
    """The manifest's key of a file that is byte for byte what it lists."""
    digest = sha256(path)
    return next((file.key for file in manifest().values() if file.sha256 and file.has_sum(digest)), None)


def _check_target(args: Namespace) -> None:
    if args.target.suffix != '.safetensors':
        raise FRExError(f'{args.target}: give a name that ends in .safetensors')
    if os.path.lexists(args.target) and not args.overwrite:
        raise FRExError(f'{args.target}: is there already; --overwrite replaces it')


def convert(args: Namespace) -> int:
    """Write a network as `.safetensors`, from which alone it can be built again; with `--half` in half precision."""
    from frex.weights.network_file import check_network, read_network, save_safetensors

    _check_target(args)
    source = require_file(args.source, args.weights)
    network = read_network(source, args.param_key)
    check_network(network, str(source))
    save_safetensors(args.target, network, half=args.half)
    precision = f', in half precision, {args.target.stat().st_size:,} bytes' if args.half else ''
    print(f'{args.target}: {network.kind} of {source}{precision}')
    return 0


def grow_network(args: Namespace) -> int:
    """Write a FREx of twice the size of a trained one, as `.safetensors`."""
    from frex.weights.grow import grow
    from frex.weights.network_file import read_network, save_safetensors

    _check_target(args)
    source = require_file(args.source, args.weights)
    network = grow(read_network(source, args.param_key), args.channels, str(source))
    save_safetensors(args.target, network)
    size = network.arguments['out_size']
    print(f'{args.target}: FREx at {size} x {size}, grown from {source}')
    return 0

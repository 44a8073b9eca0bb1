"""What is run: networks that this process can load, and commands of other projects."""

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from frex.errors import FRExError, nearest
from frex.peers.command_results import PLACE
from frex.utils.files import sha256
from frex.weights.locate import search_paths

# The kinds of networks, and the file that each is looked for in where none is named.
USUAL_FILES = {'frex': None, 'gfpgan': 'GFPGANv1.4.pth', 'restoreformer': 'RestoreFormer.pth'}

NAME = re.compile(r'\w[\w.+-]*')
RESULTS_FORM = f'NAME=PATTERN, as in GPEN={PLACE}_GPEN'


@dataclass(frozen=True)
class NetworkMethod:
    """A network of `kind`, a key of `USUAL_FILES`, with the weights of `model`."""

    name: str
    kind: str
    model: Path

    def settings(self) -> dict[str, str]:
        """What must be the same for results to be kept."""
        return {'kind': self.kind, 'model': self.model.name, 'model_sha256': sha256(self.model)}


@dataclass(frozen=True)
class CommandMethod:
    """A line for the shell, with `{input}` and `{output}` in the places of two folders.

    `results` says how its images are called, with `{name}` in the place of a face's name.
    """

    name: str
    command: str
    results: str | None = None

    def settings(self) -> dict[str, str]:
        """What must be the same for results to be kept."""
        return {'kind': 'command', 'command': self.command} | ({} if self.results is None else {'results': self.results})


Method = NetworkMethod | CommandMethod


@dataclass(frozen=True)
class UnavailableMethod:
    """Why a method cannot be run."""

    name: str
    reason: str


def read_methods(
    networks: Sequence[str], commands: Sequence[str], weights: Path | None, results: Sequence[str] = ()
) -> list[Method | UnavailableMethod]:
    """The methods of `NAME=KIND[:FILE]` and of `NAME=COMMAND`, in this order; without its file one is a `UnavailableMethod`.

    `results`, `NAME=PATTERN`, say how the images of commands are called. A file that is not named is searched for in `weights`
    and where `frex weights` and GFPGAN look. Raises FRExError where an entry is of another form, and for a name that is given
    twice.
    """
    if not networks and not commands:
        raise FRExError('nothing to run: give --method NAME=KIND[:FILE] or --command "NAME=... {input} {output}"')
    methods: list[Method | UnavailableMethod] = [_network(*_named(entry, '--method', 'NAME=KIND[:FILE]'), weights) for entry in networks]
    methods += _read_commands(commands, results)
    # Some file systems take capital and small letters for the same.
    names = [method.name.lower() for method in methods]
    for name in names:
        if names.count(name) > 1:
            raise FRExError(f'{name}: given twice; each method has a name, and a folder, of its own')
    return methods


def _named(entry: str, flag: str, form: str) -> tuple[str, str]:
    name, equals, value = entry.partition('=')
    if not equals or not NAME.fullmatch(name) or not value.strip():
        raise FRExError(f'{flag}: {entry!r} is not of the form {form}; a name has letters, digits and any of _ . + -')
    return name, value


def _network(name: str, value: str, weights: Path | None) -> NetworkMethod | UnavailableMethod:
    kind, _, file = value.partition(':')
    if kind not in USUAL_FILES:
        raise FRExError(f'--method: {name}: no kind {kind!r} of network; {nearest(kind, list(USUAL_FILES))}; others run by --command')
    usual = USUAL_FILES[kind]
    if not file and usual is None:
        raise FRExError(f'--method: {name}: {kind} needs its checkpoint, as in {name}={kind}:FILE')
    candidates = [Path(file).expanduser()] if file else [place / str(usual) for place in search_paths(weights)]
    for path in candidates:
        if os.path.isfile(path):
            return NetworkMethod(name, kind, path)
    return UnavailableMethod(name, f'no file {file}' if file else f'{usual} is not there; name the file, as in {name}={kind}:FILE')


def _read_commands(commands: Sequence[str], results: Sequence[str]) -> list[CommandMethod]:
    patterns: dict[str, str] = {}
    for name, pattern in (_named(entry, '--results', RESULTS_FORM) for entry in results):
        if name in patterns:
            raise FRExError(f'--results: {name}: given twice')
        if PurePosixPath(pattern).name.count(PLACE) != 1 or pattern.count(PLACE) != 1:
            raise FRExError(f'--results: {name}: {pattern!r} needs {PLACE} once, after the last /, for the name of a face')
        patterns[name] = pattern
    named = [_named(entry, '--command', 'NAME=COMMAND') for entry in commands]
    for name in patterns.keys() - dict(named):
        raise FRExError(f'--results: {name}: is no --command')
    return [_command(name, line, patterns.get(name)) for name, line in named]


def _command(name: str, line: str, results: str | None) -> CommandMethod:
    for place in ('{input}', '{output}'):
        if place not in line:
            raise FRExError(f'--command: {name}: {place} is missing; it stands for a folder of images')
        if _is_quoted(place, line):
            raise FRExError(f'--command: {name}: {place} stands in quotes; take them away, folders are put in with what quotes they need')
    return CommandMethod(name, line, results)


def _is_quoted(place: str, line: str) -> bool:
    """Whether a folder with a blank in its name, put in with quotes of its own, would not come out of the shell as it is."""
    folder = '/a b'
    try:
        words = shlex.split(line.replace(place, shlex.quote(folder)))
    except ValueError:
        return True
    whole = sum(word.count(folder) - word.count(shlex.quote(folder)) for word in words)
    return whole < line.count(place)

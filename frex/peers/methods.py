"""The methods to run: networks that FREx can load, and commands of other projects."""

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from frex.errors import FRExError, nearest
from frex.peers.command_results import NAME_PLACEHOLDER
from frex.utils.files import sha256
from frex.weights.locate import search_paths

# The kinds of networks, each with the weight file that is used where none is given; None where one must be given.
USUAL_FILES = {'frex': None, 'gfpgan': 'GFPGANv1.4.pth', 'restoreformer': 'RestoreFormer.pth', 'codeformer': 'codeformer.pth'}

NAME = re.compile(r'\w[\w.+-]*')
RESULTS_FORM = f'NAME=PATTERN, as in GPEN={NAME_PLACEHOLDER}_GPEN'


@dataclass(frozen=True)
class NetworkMethod:
    """A network of `kind`, a key of USUAL_FILES, with the weights in the file `model`."""

    name: str
    kind: str
    model: Path

    def settings(self) -> dict[str, str]:
        """Return the settings on which the results depend, for the record."""
        return {'kind': self.kind, 'model': self.model.name, 'model_sha256': sha256(self.model)}


@dataclass(frozen=True)
class CommandMethod:
    """A shell command, in which `{input}` and `{output}` stand for two folders.

    `results` is the pattern of the names of its images, in which `{name}` stands for the name of a face; None: see `find_results`.
    """

    name: str
    command: str
    results: str | None = None

    def settings(self) -> dict[str, str]:
        """Return the settings on which the results depend, for the record."""
        return {'kind': 'command', 'command': self.command} | ({} if self.results is None else {'results': self.results})


Method = NetworkMethod | CommandMethod


@dataclass(frozen=True)
class UnavailableMethod:
    """A method that cannot be run, and the reason."""

    name: str
    reason: str


def read_methods(
    networks: Sequence[str], commands: Sequence[str], weights: Path | None, results: Sequence[str] = ()
) -> list[Method | UnavailableMethod]:
    """Parse `networks`, NAME=KIND[:FILE], and `commands`, NAME=COMMAND; a network whose file is not found becomes an `UnavailableMethod`.

    `results`, NAME=PATTERN, say how the command NAME names its images; `{name}` in a pattern stands for the name of a face. Without FILE
    the file that USUAL_FILES has for the KIND is searched for in the folder `weights` and where `frex weights` and GFPGAN store files;
    nothing is downloaded. Raises FRExError for an entry of another form, an unknown KIND, the KIND `frex` without FILE, a command
    without `{input}` or `{output}` or with one in quotes, an invalid pattern or one of no command, a name that is given twice (small and
    capital letters count as equal), and where there is no method at all.
    """
    if not networks and not commands:
        raise FRExError('nothing to run: give --method NAME=KIND[:FILE] or --command "NAME=... {input} {output}"')
    methods: list[Method | UnavailableMethod] = [
        _parse_network(*_split_entry(entry, '--method', 'NAME=KIND[:FILE]'), weights) for entry in networks
    ]
    methods += _read_commands(commands, results)
    # Some file systems do not distinguish capital and small letters.
    names = [method.name.lower() for method in methods]
    for name in names:
        if names.count(name) > 1:
            raise FRExError(f'{name}: given twice; each method has a name, and a folder, of its own')
    return methods


def _split_entry(entry: str, flag: str, form: str) -> tuple[str, str]:
    """Split `entry` at its first `=` into a valid name and a value; raise FRExError, which names `flag` and `form`, otherwise."""
    name, equals, value = entry.partition('=')
    if not equals or not NAME.fullmatch(name) or not value.strip():
        raise FRExError(f'{flag}: {entry!r} is not of the form {form}; a name has letters, digits and any of _ . + -')
    return name, value


def _parse_network(name: str, value: str, weights: Path | None) -> NetworkMethod | UnavailableMethod:
    """Parse `value`, KIND[:FILE], of the network `name`; raise FRExError for an unknown kind, or a missing FILE that is required."""
    kind, _, file = value.partition(':')
    if kind not in USUAL_FILES:
        raise FRExError(f'--method: {name}: no kind {kind!r} of network; {nearest(kind, list(USUAL_FILES))}; others run by --command')
    usual = USUAL_FILES[kind]
    if not file and usual is None:
        raise FRExError(f'--method: {name}: {kind} needs its checkpoint, as in {name}={kind}:FILE')
    candidates = [Path(file).expanduser()] if file else [folder / str(usual) for folder in search_paths(weights)]
    for path in candidates:
        if os.path.isfile(path):
            return NetworkMethod(name, kind, path)
    return UnavailableMethod(name, f'no file {file}' if file else f'{usual} was not found; name the file, as in {name}={kind}:FILE')


def _read_commands(commands: Sequence[str], results: Sequence[str]) -> list[CommandMethod]:
    """Return the commands with their patterns; raise FRExError for a pattern that is invalid or belongs to no command."""
    patterns: dict[str, str] = {}
    for name, pattern in (_split_entry(entry, '--results', RESULTS_FORM) for entry in results):
        if name in patterns:
            raise FRExError(f'--results: {name}: given twice')
        if PurePosixPath(pattern).name.count(NAME_PLACEHOLDER) != 1 or pattern.count(NAME_PLACEHOLDER) != 1:
            raise FRExError(f'--results: {name}: {pattern!r} needs {NAME_PLACEHOLDER} once, after the last /, for the name of a face')
        patterns[name] = pattern
    named = [_split_entry(entry, '--command', 'NAME=COMMAND') for entry in commands]
    for name in patterns.keys() - dict(named):
        raise FRExError(f'--results: {name}: is no --command')
    return [_make_command(name, line, patterns.get(name)) for name, line in named]


def _make_command(name: str, line: str, results: str | None) -> CommandMethod:
    """Return the command `name`; raise FRExError where a placeholder is missing from `line` or stands in quotes."""
    for placeholder in ('{input}', '{output}'):
        if placeholder not in line:
            raise FRExError(f'--command: {name}: {placeholder} is missing; it stands for a folder of images')
        if _is_quoted(placeholder, line):
            raise FRExError(f'--command: {name}: {placeholder} stands in quotes; remove them, folders are quoted automatically')
    return CommandMethod(name, line, results)


def _is_quoted(placeholder: str, line: str) -> bool:
    """Return whether quotes in `line` would break a folder's name with a blank, which is inserted with quotes of its own."""
    folder = '/a b'
    try:
        words = shlex.split(line.replace(placeholder, shlex.quote(folder)))
    except ValueError:
        return True
    whole = sum(word.count(folder) - word.count(shlex.quote(folder)) for word in words)
    return whole < line.count(placeholder)

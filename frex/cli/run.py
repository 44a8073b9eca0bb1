"""Parse the flags of a command, run it, and turn its errors into one line and an exit status."""

import errno
import os
import sys
from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence

from frex.cli.streams import SafeStream, safe_streams
from frex.environment import OFFLINE, allow_mps_fallback, shorten_waits
from frex.errors import FRExError, nearest, one_line
from frex.utils.allocator import keep_freed_memory
from frex.utils.extras import EXTRAS, missing_package, require_extra

# Errors of the system that are about a file and not about the program: no permission, no space, a broken disk and the like.
REFUSALS = {
    getattr(errno, name)
    for name in ('EACCES', 'EPERM', 'EIO', 'ENOSPC', 'EDQUOT', 'EROFS', 'EISDIR', 'ENOTDIR', 'ENAMETOOLONG', 'ELOOP', 'ENXIO', 'EMFILE')
}


def run(parser: ArgumentParser, argv: Sequence[str] | None) -> int:
    """Parse the flags `argv`, those of this process if None, and run the command; return its exit status.

    FRExError is printed as one line on standard error, with status 1, and so are a missing package of an extra, a file that the system
    does not let us read or write, and a standard output that is full. An interrupt by the keyboard gives status 130. Raises SystemExit
    after --help and for wrong flags, as argparse does.
    """
    with safe_streams() as output:
        try:
            return _run_command(parser, argv) or _report_lost_output(parser, output)
        except SystemExit as end:
            # The end of --help and of usage errors.
            raise SystemExit(end.code or _report_lost_output(parser, output)) from None


def _report_lost_output(parser: ArgumentParser, output: SafeStream) -> int:
    """Report that standard output could not be written, and return 1; return 0 where it could."""
    output.flush()
    if output.problem is None:
        return 0
    print(f'{parser.prog}: error: standard output cannot be written ({output.problem})', file=sys.stderr)
    return 1


def _run_command(parser: ArgumentParser, argv: Sequence[str] | None) -> int:
    """Parse the flags and call `args.run(args)`, which the parser of the command sets as a default; return its exit status, 0 for None.

    A command that needs an extra sets `extra` as well. FRExError, a missing package of an extra and errors of files become one line.
    """
    args = parse(parser, argv)
    if getattr(args, 'offline', False):
        # Worker processes inherit it.
        os.environ[OFFLINE] = '1'
    # OpenCV would print its own lines on damaged files, which FREx reports itself.
    os.environ.setdefault('OPENCV_LOG_LEVEL', 'SILENT')
    keep_freed_memory()
    shorten_waits()
    allow_mps_fallback()
    command: Callable[[Namespace], int | None] = args.run
    try:
        if hasattr(args, 'extra'):
            require_extra(args.extra, 'this command')
        return command(args) or 0
    except FRExError as error:
        reason = str(error)
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        reason = str(missing_package(error.name, 'this command'))
    except OSError as error:
        if error.errno not in REFUSALS or error.filename is None:
            raise
        reason = one_line(f'{error.filename}: {error.strerror}')
    except KeyboardInterrupt:
        print(f'{parser.prog}: stopped', file=sys.stderr)
        return 130
    print(f'{parser.prog}: error: {reason}', file=sys.stderr)
    return 1


def refuse(args: Namespace, reason: str) -> None:
    """Note the `reason` why a flag is refused in `args`; `parse` ends with one usage error for all reasons when all flags are parsed."""
    args.refused = [*getattr(args, 'refused', []), reason]


def parse(parser: ArgumentParser, argv: Sequence[str] | None) -> Namespace:
    """Parse the flags `argv`; end with one usage error (SystemExit) that names every unknown and refused flag, and the nearest known one.

    Where flags are wrong, the command's function `also_refused`, if it has one, is called for further reasons: who corrects one flag wants
    to know all that are wrong.
    """
    args, unknown = parser.parse_known_args(argv)
    own = next((one for one in _parsers(parser) if one.get_default('run') is args.run), parser)
    reasons: list[str] = list(getattr(args, 'refused', []))
    if unknown:
        hints = [nearest(word.partition('=')[0], list(_flags(own))) for word in unknown if word.startswith('--')]
        helpful = [hint for hint in hints if hint.startswith('did you mean')]
        reasons.append(f'unrecognized arguments: {" ".join(unknown)}{f" ({helpful[0]})" if helpful else ""}')
    if reasons:
        also = args.also_refused(args) if hasattr(args, 'also_refused') else None
        own.error(f'\n{own.prog}: error: '.join([*reasons, *([also] if also else [])]))
    return args


def _flags(parser: ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        if action.help != SUPPRESS:
            yield from (name for name in action.option_strings if name.startswith('--'))


def _parsers(parser: ArgumentParser) -> Iterator[ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action.choices, dict):
            for subparser in action.choices.values():
                yield from _parsers(subparser)

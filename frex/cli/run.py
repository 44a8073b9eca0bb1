"""Parse the flags of a command, run it, and turn its errors into one line and an exit status."""

import os
import sys
from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from io import TextIOWrapper

from frex.errors import FRExError, nearest
from frex.threads import shorten_waits
from frex.utils.allocator import keep_freed_memory
from frex.utils.extras import EXTRAS, missing_package, require_extra


def run(parser: ArgumentParser, argv: Sequence[str] | None) -> int:
    """Parse the flags `argv` and run the command; return its exit status.

    FRExError is printed as one line on standard error, with status 1, and so is a missing package of an extra. An interrupt by the
    keyboard gives status 130.
    """
    for stream in (sys.stdout, sys.stderr):
        # File names need not be valid Unicode.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')
    args = parse(parser, argv)
    if getattr(args, 'offline', False):
        # Worker processes inherit it.
        os.environ['FREX_OFFLINE'] = '1'
    keep_freed_memory()
    shorten_waits()
    command: Callable[[Namespace], int | None] = args.run
    try:
        if hasattr(args, 'extra'):
            require_extra(args.extra, 'this command')
        return command(args) or 0
    except FRExError as error:
        print(f'{parser.prog}: error: {error}', file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        print(f'{parser.prog}: error: {missing_package(error.name, "this command")}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f'{parser.prog}: stopped', file=sys.stderr)
        return 130


def parse(parser: ArgumentParser, argv: Sequence[str] | None) -> Namespace:
    """Parse the flags `argv`; end with a usage error that suggests the nearest flag of the command where one is unknown."""
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        known = [name for one in _parsers(parser) if one.get_default('run') is args.run for name in _flags(one)]
        hints = [nearest(word.partition('=')[0], known) for word in unknown if word.startswith('--')]
        helpful = [hint for hint in hints if hint.startswith('did you mean')]
        parser.error(f'unrecognized arguments: {" ".join(unknown)}{f" ({helpful[0]})" if helpful else ""}')
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

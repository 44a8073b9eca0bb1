"""A command run: its flags parsed, bad input turned into one line and an exit status."""

import sys
from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from io import TextIOWrapper

from frex.errors import FRExError, nearest
from frex.threads import shorten_waits
from frex.utils.allocator import keep_freed_memory


def run(parser: ArgumentParser, argv: Sequence[str] | None) -> int:
    """Parse, run, and turn bad input into one line on standard error and status 1."""
    for stream in (sys.stdout, sys.stderr):
        # Names of files need not be text.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')
    args = parse(parser, argv)
    keep_freed_memory()
    shorten_waits()
    command: Callable[[Namespace], int | None] = args.run
    try:
        return command(args) or 0
    except FRExError as error:
        print(f'{parser.prog}: error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f'{parser.prog}: stopped', file=sys.stderr)
        return 130


def parse(parser: ArgumentParser, argv: Sequence[str] | None) -> Namespace:
    """Where there is an unknown flag, end with its name and that of the command's nearest one."""
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        known = [name for own in _parsers(parser) if own.get_default('run') is args.run for name in _flags(own)]
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
            for below in action.choices.values():
                yield from _parsers(below)

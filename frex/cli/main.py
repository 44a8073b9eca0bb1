"""`frex` and `basicsr`: the commands. Nothing heavy is imported before a command is known."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from io import TextIOWrapper

from frex.allocator import keep_freed_memory
from frex.cli import (
    ablate,
    balance,
    cameras,
    collect_real,
    degrade,
    demo,
    evaluate,
    export,
    peers,
    restore,
    statistics,
    synthesize,
    train,
    weights,
)
from frex.cli.foreign_flags import parse
from frex.errors import FRExError
from frex.threads import shorten_waits

SINGLE = (restore, weights, cameras, synthesize, degrade, balance, collect_real, statistics, evaluate, peers, ablate, export, demo)


def main(argv: Sequence[str] | None = None) -> int:
    """`frex COMMAND ...`."""
    return run(frex_parser(), argv)


def frex_parser() -> ArgumentParser:
    """All commands of `frex`."""
    parser = ArgumentParser(prog='frex', description='Blind face restoration under extreme conditions.', allow_abbrev=False)
    commands = parser.add_subparsers(title='commands', required=True, metavar='COMMAND')
    train.add_commands(commands)
    for module in SINGLE:
        module.add_command(commands)
    return parser


def basicsr(argv: Sequence[str] | None = None) -> int:
    """`basicsr train ...` and `basicsr test ...`, which upstream runs as `python basicsr/train.py ...`."""
    parser = ArgumentParser(prog='basicsr', description="BasicSR's pipelines with FREx registered.", allow_abbrev=False)
    train.add_commands(parser.add_subparsers(title='commands', required=True, metavar='COMMAND'))
    return run(parser, argv)


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

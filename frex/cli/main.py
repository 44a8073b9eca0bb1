"""The programs `frex` and `basicsr` with their commands. Heavy packages such as torch are imported only when a command runs."""

from argparse import ArgumentParser
from collections.abc import Sequence

from frex import __version__
from frex.cli import (
    ablate,
    balance,
    cameras,
    collect_real,
    degrade,
    demo,
    doctor,
    evaluate,
    export,
    options,
    peers,
    render,
    restore,
    statistics,
    synthesize,
    train,
    web,
    weights,
)
from frex.cli.run import run

# The modules that each add one command.
SINGLE = (
    restore,
    web,
    render,
    weights,
    options,
    cameras,
    synthesize,
    degrade,
    balance,
    collect_real,
    statistics,
    evaluate,
    peers,
    ablate,
    export,
    demo,
    doctor,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `frex COMMAND ...` and return the exit status."""
    return run(frex_parser(), argv)


def frex_parser() -> ArgumentParser:
    """Return the parser of `frex` with all its commands."""
    parser = ArgumentParser(prog='frex', description='Blind face restoration under extreme conditions.', allow_abbrev=False)
    parser.add_argument('--version', action='version', version=f'FREx {__version__}')
    commands = parser.add_subparsers(title='commands', required=True, metavar='COMMAND')
    train.add_commands(commands)
    for module in SINGLE:
        module.add_command(commands)
    return parser


def basicsr(argv: Sequence[str] | None = None) -> int:
    """Run `basicsr train ...` or `basicsr test ...` (upstream: `python basicsr/train.py ...`), and return the exit status."""
    parser = ArgumentParser(prog='basicsr', description="BasicSR's pipelines with FREx registered.", allow_abbrev=False)
    train.add_commands(parser.add_subparsers(title='commands', required=True, metavar='COMMAND'))
    return run(parser, argv)

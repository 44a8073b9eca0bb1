"""`frex` and `basicsr`: the commands. Nothing heavy is imported before a command is known."""

from argparse import ArgumentParser
from collections.abc import Sequence

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
from frex.cli.run import run

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

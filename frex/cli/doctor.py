"""`frex doctor`: what is installed here, and what is missing for which command."""

from argparse import Namespace
from typing import Any

from frex.cli.flags import add_weights


def add_command(commands: Any) -> None:
    """Add `doctor` to an argparse sub-command group."""
    parser = commands.add_parser(
        'doctor', help='describe this installation for a bug report: versions, devices, weights, what is missing', allow_abbrev=False
    )
    add_weights(parser)
    parser.set_defaults(run=_print_description)


def _print_description(args: Namespace) -> None:
    from frex.doctor import describe_installation

    for line in describe_installation(args.weights):
        print(line)

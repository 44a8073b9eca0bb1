"""`frex demo`: restore two sample portraits and show the result."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

WHAT = 'Restore two portraits that the small FREx of the package was not trained on, show them, and print how much better they are.'


def add_command(commands: Any) -> None:
    """Add `demo` to an argparse sub-command group."""
    parser: ArgumentParser = commands.add_parser('demo', help='restore two portraits and show them', description=WHAT, allow_abbrev=False)
    parser.add_argument(
        '--train', action='store_true', help='train a tiny FREx on the two portraits instead, in some minutes, and restore them with it'
    )
    parser.add_argument(
        '--model_path',
        type=Path,
        metavar='FILE',
        help='another FREx checkpoint, or owner/name on the Hub (default: the small FREx that comes with the package)',
    )
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda, cuda:N or mps (default: auto)')
    parser.set_defaults(run=_demo, extra='demo')


def _demo(args: Namespace) -> None:
    if args.train:
        from frex.demo import train

        train.run()
    else:
        from frex.demo import restore

        restore.run(args.model_path, device=args.device)

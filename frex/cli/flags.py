"""Flags that several commands share, types of flags, and the conversion of parsed flags to typed options."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar('T')


def read_options(kind: type[T], args: Namespace) -> T:
    """Return an instance of the dataclass `kind` with the parsed values of the flags that have the names of its fields.

    A list, which a flag with several values gives, becomes a tuple.
    """
    values = {field.name: getattr(args, field.name) for field in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def add_weights(parser: Any) -> None:
    """Add `--weights` to a parser or a group of flags."""
    parser.add_argument('--weights', type=Path, metavar='DIR', help='folder of the files (default: $FREX_HOME, ./weights, the user cache)')


def add_offline(parser: Any) -> None:
    """Add `--offline` to a parser or a group of flags."""
    parser.add_argument('--offline', action='store_true', help='download nothing; FREX_OFFLINE=1 does the same for all commands')


def add_device(parser: Any) -> None:
    """Add `--device` to a parser or a group of flags."""
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda, cuda:N or mps (default: auto)')


def add_frame(parser: ArgumentParser, default: str, what: str) -> None:
    """Add `--frame`, the alignment of faces (ffhq or eg3d), to a parser; `what` begins its help text."""
    parser.add_argument('--frame', default=default, choices=['ffhq', 'eg3d'], help=f'{what} (default: {default})')


def add_det_threshold(parser: Any, default: float) -> None:
    """Add `--det_threshold`, the least score of a detected face, to a parser or a group of flags."""
    parser.add_argument(
        '--det_threshold', default=default, type=float, metavar='SCORE', help=f'least score of a face, 0 to 1 (default: {default:g})'
    )


def number_between(least: float, most: float = float('inf')) -> Callable[[str], float]:
    """Return the type of a flag that takes a number from `least` to `most`: a function that parses its text."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ArgumentTypeError(f'{text!r} is not a number') from None
        if not least <= value <= most:
            raise ArgumentTypeError(f'{text} must be ' + (f'at least {least:g}' if most == float('inf') else f'{least:g} to {most:g}'))
        return value

    return parse


def positive_int(text: str) -> int:
    """Parse a whole number of at least 1; raise ArgumentTypeError for anything else."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f'{text!r} is not a whole number of at least 1')
    return int(text)


def whole_number(text: str) -> int:
    """Parse a whole number of at least 0; raise ArgumentTypeError for anything else."""
    return 0 if text == '0' else positive_int(text)

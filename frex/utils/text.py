"""Text for the screen."""

from collections.abc import Sequence


def in_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """A line for each row, its cells below each other, two blanks between them."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ['  '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


SHOWN = 3


def first_of(names: Sequence[str]) -> str:
    """Some names for a line of text."""
    return ', '.join(names[:SHOWN]) + (', ...' if len(names) > SHOWN else '')

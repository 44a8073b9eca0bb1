"""Format text for the terminal."""

from collections.abc import Sequence


def in_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return one line per row, with the cells of each column left-aligned and two blanks between columns; rows have equally many cells."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ['  '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


SHOWN = 3


def abbreviate(names: Sequence[str]) -> str:
    """Return the first three names, separated by commas, and `...` where there are more."""
    return ', '.join(names[:SHOWN]) + (', ...' if len(names) > SHOWN else '')

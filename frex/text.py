"""Text for the screen."""

from collections.abc import Sequence


def in_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """A line for each row, its cells below each other, two blanks between them."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ['  '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]

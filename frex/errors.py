"""The error for bad input, and functions that make its messages."""

# A message is cut to this length before it is escaped: names in it may come from files, and be as long as those.
MOST_CHARACTERS = 4000


class FRExError(Exception):
    """Bad input, described in one line: what, where, and what to do. Commands print it and exit with status 1."""

    def __init__(self, message: str) -> None:
        if 'Traceback (most recent call last)' in message:
            # A data loader's worker sends its whole traceback, of which the message is the last line.
            message = message.strip().splitlines()[-1].removeprefix(f'{__name__}.FRExError: ')
        super().__init__(one_line(message))


def one_line(text: str) -> str:
    """Cut `text` after MOST_CHARACTERS, with `...` for the rest, then escape what is not printable, such as line breaks."""
    shown = ''.join(char if char.isprintable() else repr(char)[1:-1] for char in text[:MOST_CHARACTERS])
    return shown if len(text) <= MOST_CHARACTERS else f'{shown}...'


def nearest(name: str, known: list[str]) -> str:
    """Return a hint for an unknown `name`: the most similar of the `known` names, or all of them where none is similar."""
    from difflib import get_close_matches

    lowered = {candidate.lower(): candidate for candidate in known}
    matches = get_close_matches(name.lower(), lowered, n=1)
    return f'did you mean {lowered[matches[0]]!r}?' if matches else f'known: {", ".join(sorted(known)) or "none"}'

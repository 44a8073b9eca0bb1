"""What goes wrong through no fault of the program."""


class FRExError(Exception):
    """Bad input, told in one line: what, where, what to do. Command-line tools print it and exit with status 1."""


def nearest(name: str, known: list[str]) -> str:
    """A hint at the known name that `name` is probably meant to be, or at all of them."""
    from difflib import get_close_matches

    lowered = {candidate.lower(): candidate for candidate in known}
    matches = get_close_matches(name.lower(), lowered, n=1)
    return f'did you mean {lowered[matches[0]]!r}?' if matches else f'known: {", ".join(sorted(known))}'

"""Standard streams that may be closed, full, poor in characters, or a pipe that nobody reads: nothing ends in a traceback."""

import codecs
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import Any

# Errors with which a stream says that its reader has gone, as in `frex ... | head -1`.
READER_GONE = (errno.EPIPE, errno.ESHUTDOWN)
# The handler of characters that a stream's encoding lacks, and what it writes for those of FREx's tables.
PLAIN = 'frex.plain'
PLAIN_TEXTS = {'↑': '^', '↓': 'v', '±': '+-', '∞': 'inf', '°': ' deg'}


class SafeStream:
    """A text stream whose writes never fail: after the first error, which `error` holds, what is written is dropped."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.error: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text and return its length."""
        try:
            return len(text) if self.error else self._stream.write(text)
        # A closed stream raises ValueError.
        except (OSError, ValueError) as error:
            self._give_up(error)
            return len(text)

    def writelines(self, lines: Any) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Write what is buffered."""
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self.error = self.error or error
        # What is still buffered goes nowhere; otherwise the interpreter would try to write it at its end.
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
        with suppress(OSError, ValueError):
            self._stream.flush()

    @property
    def problem(self) -> str | None:
        """Why something that was written is lost; None where nothing is, and where the reader wanted no more."""
        if self.error is None or (isinstance(self.error, OSError) and self.error.errno in READER_GONE):
            return None
        return getattr(self.error, 'strerror', None) or str(self.error)


def write_plainly(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replace what cannot be encoded: characters of tables by plain ones, all others, such as those of file names, by backslash escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character = error.object[error.start]
    if character in PLAIN_TEXTS:
        return PLAIN_TEXTS[character], error.start + 1
    escape = codecs.backslashreplace_errors(UnicodeEncodeError(error.encoding, error.object, error.start, error.start + 1, error.reason))
    return escape[0], error.start + 1


codecs.register_error(PLAIN, write_plainly)


def open_closed_streams() -> None:
    """Let standard streams that are closed lead nowhere: the next file that is opened would take the place of one, and get its output."""
    for number, mode, name in ((0, 'r', 'stdin'), (1, 'w', 'stdout'), (2, 'w', 'stderr')):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 (open until the end)


@contextmanager
def safe_streams() -> Iterator[SafeStream]:
    """Make standard output and standard error safe within a block, and yield the former."""
    open_closed_streams()
    before = sys.stdout, sys.stderr
    for stream in before:
        # File names need not be valid Unicode, and a console may lack their characters.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=PLAIN)
    output, errors = SafeStream(sys.stdout), SafeStream(sys.stderr)
    sys.stdout, sys.stderr = output, errors
    try:
        yield output
    finally:
        output.flush()
        errors.flush()
        sys.stdout, sys.stderr = before

"""Collect Pillow's warnings by thread, so that those on an image become notes on this image while other threads read other images."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_lock = threading.Lock()
# The lists of the threads that collect, by thread; the function that showed warnings before the first of them, and the filters added since.
_collected: dict[int, list[str]] = {}
_before: list[Any] = []
# Warnings to programmers, not on an image.
IGNORED = (DeprecationWarning, PendingDeprecationWarning, FutureWarning, ResourceWarning)


@contextmanager
def collect_warnings() -> Iterator[list[str]]:
    """Yield a list that receives the texts of Pillow's warnings in this thread; those of other threads are shown as before.

    In one thread, a block must not lie in another one. Warnings to programmers, such as DeprecationWarning, are dropped.

    `warnings.catch_warnings` would not do: it changes what all threads see, and threads read images at the same time.
    """
    texts: list[str] = []
    thread = threading.get_ident()
    with _lock:
        if not _collected:
            _start()
        _collected[thread] = texts
    try:
        yield texts
    finally:
        with _lock:
            del _collected[thread]
            if not _collected:
                _stop()


def _start() -> None:
    """Let Python show warnings by `_show`, and Pillow's always; remember what was there before."""
    known = list(warnings.filters)
    # Without this, a second image with the same fault would get no warning.
    warnings.filterwarnings('always', module=r'PIL\.')
    _before[:] = [warnings.showwarning, [one for one in warnings.filters if one not in known]]
    warnings.showwarning = _show


def _stop() -> None:
    """Undo `_start`."""
    show, added = _before
    if warnings.showwarning is _show:
        warnings.showwarning = show
    warnings.filters[:] = [one for one in warnings.filters if one not in added]  # type: ignore[index]


def _show(message: Any, category: type[Warning], filename: str, *more: Any, **named: Any) -> None:
    """Add a warning of Pillow to the list of this thread, if it collects; show all others as before. Takes what `showwarning` takes."""
    texts = _collected.get(threading.get_ident())
    if texts is None or '/PIL/' not in filename.replace('\\', '/'):
        _before[0](message, category, filename, *more, **named)
    elif not issubclass(category, IGNORED):
        texts.append(' '.join(str(message).split()))

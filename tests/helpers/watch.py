"""Record what this process does, takes and writes while it reads a file, and limit the size of its files as a full disk does."""

import codecs
import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Nothing that reads weights does any of this, once torch has started.
FORBIDDEN = {
    *('exec', 'compile', 'import', 'code.__new__', 'pickle.find_class', 'marshal.loads', 'ctypes.dlopen'),
    *('os.system', 'os.exec', 'os.fork', 'os.forkpty', 'os.posix_spawn', 'os.spawn', 'subprocess.Popen', 'pty.spawn'),
    *('socket.connect', 'socket.bind', 'socket.getaddrinfo', 'urllib.Request'),
    *('os.mkdir', 'os.remove', 'os.rmdir', 'os.rename', 'os.link', 'os.symlink', 'os.chmod', 'os.truncate', 'os.putenv'),
    *('tempfile.mkstemp', 'tempfile.mkdtemp', 'shutil.rmtree', 'shutil.copyfile', 'shutil.move'),
}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass
class Watched:
    """What happened during a read: forbidden events, seconds of the processor, and how far the process's memory grew at most."""

    events: list[str] = field(default_factory=list)
    seconds: float = 0.0
    growth: int = 0


_watching: list[Watched] = []


# zipfile and pickletools import these at their first use.
for codec in ('cp437', 'raw_unicode_escape'):
    codecs.lookup(codec)

# The type check of these tests makes itself functions, and looks for a library to print with.
CHECKERS = ('/jaxtyping/', '/beartype/')


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if not _watching or (event not in FORBIDDEN and not (event == 'open' and args[2] & WRITING)):
        return
    caller = sys._getframe(1).f_code.co_filename
    if event not in ('exec', 'compile', 'import') or not any(name in caller for name in CHECKERS):
        _watching[0].events.append(f'{event} {args!r:.200}')


def _memory(line: str) -> int:
    """Return the bytes that the process holds (`VmRSS`), or held at most (`VmHWM`)."""
    status = Path('/proc/self/status').read_text()
    return int(status.partition(f'{line}:')[2].split()[0]) << 10


@contextmanager
def watched() -> Iterator[Watched]:
    """Record what is done within the block; the object that this yields is complete after the block.

    Blocks must not be nested. The audit hook that records cannot be evaded from Python, nor removed.
    """
    if not hasattr(sys, '_weights_watch'):
        sys.addaudithook(_hook)
        sys._weights_watch = True
    found = Watched()
    # Where the peak cannot be set back it only rises: a weaker test, not a wrong one.
    with suppress(OSError):
        Path('/proc/self/clear_refs').write_text('5')
    before, start = _memory('VmHWM'), time.process_time()
    _watching.append(found)
    try:
        yield found
    finally:
        _watching.clear()
        found.seconds, found.growth = time.process_time() - start, _memory('VmHWM') - before


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file of this process become larger than `size` bytes within the block: writing more fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

"""Stopping in good order when a signal asks for it."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch
import torch.distributed as dist

# Of a shell's: 128 and the number of the signal.
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}
# torchrun sends a signal on that the terminal has sent to all already.
SECONDS_OF_ONE_WISH = 2.0


class Stop:
    """Whether to stop, and the exit status that tells why; 0 while there is no reason to."""

    def __init__(self) -> None:
        self.status, self.reason = 0, ''

    def __call__(self) -> bool:
        return self.status != 0

    def ask(self, status: int, reason: str) -> None:
        """Only the first reason counts."""
        if not self.status:
            self.status, self.reason = status, reason


@contextmanager
def stopped_by_signals() -> Iterator[Stop]:
    """The first SIGINT or SIGTERM asks to stop, a later one stops at once. Outside of the main thread signals are left alone."""
    stop, asked = Stop(), [0.0]

    def hear(number: int, frame: FrameType | None) -> None:
        if not stop():
            asked[0] = time.monotonic()
            stop.ask(STATUS[signal.Signals(number)], 'stopped')
            # Not print: the signal may have come in the middle of one.
            os.write(2, b'stopping: what is being written is finished; once more stops at once\n')
        elif time.monotonic() - asked[0] > SECONDS_OF_ONE_WISH:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, hear) for number in STATUS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class StopSignal:
    """Whether SIGTERM has come, as schedulers of clusters send it before they kill a job."""

    def __init__(self) -> None:
        self.came = False

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Within, SIGTERM is noted and ends nothing; where signals cannot be heard, outside of the main thread, nothing changes."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, lambda *_: setattr(self, 'came', True))
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def came_to_any(self, device: torch.device) -> bool:
        """Whether it has come to any process: they stop together."""
        if not (dist.is_available() and dist.is_initialized()):
            return self.came
        came = torch.tensor(self.came, dtype=torch.uint8, device=device)
        dist.all_reduce(came, dist.ReduceOp.MAX)
        return bool(came)

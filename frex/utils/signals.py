"""Stop in an orderly way when SIGINT or SIGTERM arrives."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch
import torch.distributed as dist

# The exit status that shells report for a signal: 128 plus its number.
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}
# torchrun forwards a signal that the terminal has already sent to all processes; within this time it counts as the same one.
REPEAT_SECONDS = 2.0


class Stop:
    """A request to stop, made by a signal or by the program: calling it returns whether there is one.

    `status` is then the exit status (0 before), `reason` says why.
    """

    def __init__(self) -> None:
        self.status, self.reason = 0, ''

    def __call__(self) -> bool:
        return self.status != 0

    def request(self, status: int, reason: str) -> None:
        """Request to stop with exit status `status`; only the first request counts."""
        if not self.status:
            self.status, self.reason = status, reason


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Yield a Stop that the first SIGINT or SIGTERM requests; a signal more than REPEAT_SECONDS later ends the process at once.

    Only the main thread can handle signals; in other threads nothing is changed.
    """
    stop, first_signal = Stop(), [0.0]

    def handle(number: int, frame: FrameType | None) -> None:
        if not stop():
            first_signal[0] = time.monotonic()
            stop.request(STATUS[signal.Signals(number)], 'stopped')
            # Not print(): the signal may have interrupted a print.
            os.write(2, b'stopping: what is being written is finished; once more stops at once\n')
        elif time.monotonic() - first_signal[0] > REPEAT_SECONDS:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, handle) for number in STATUS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class StopSignal:
    """Remembers whether SIGTERM has arrived, which cluster schedulers send before they kill a job; for training, where processes agree."""

    def __init__(self) -> None:
        self.received = False

    @contextmanager
    def listen(self) -> Iterator[None]:
        """Record SIGTERM instead of ending the process during a `with` block; outside of the main thread nothing changes."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, lambda *_: setattr(self, 'received', True))
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def received_by_any(self, device: torch.device) -> bool:
        """Return whether any process of the distributed group has received SIGTERM, so that all stop at the same step.

        All processes must call it; `device` is where their tensors for this are created.
        """
        if not (dist.is_available() and dist.is_initialized()):
            return self.received
        received = torch.tensor(self.received, dtype=torch.uint8, device=device)
        dist.all_reduce(received, dist.ReduceOp.MAX)
        return bool(received)

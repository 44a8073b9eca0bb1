"""Processes with contestants, so that each network runs with the C library's allocator as its users have it."""

import multiprocessing
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection
from typing import Any

import timing
import torch

from frex.utils.allocator import keep_freed_memory

Make = Callable[..., timing.Contestants]


class IsolatedProcess:
    """A process that builds contestants with `make` and runs one when it is asked; a failure there ends the benchmark here."""

    def __init__(self, make: Make, *args: Any, device: torch.device, keep_memory: bool) -> None:
        context = multiprocessing.get_context('spawn')
        self.connection, theirs = context.Pipe()
        context.Process(target=_serve, args=(theirs, make, args, device, keep_memory), daemon=True).start()
        self.names: list[str] = self._answer()

    def seconds(self, name: str) -> float:
        """Of one call."""
        return self._ask('seconds', name)

    def peak_bytes(self, name: str) -> int | None:
        """See `timing.peak_bytes`."""
        return self._ask('peak_bytes', name)

    def flops(self, name: str) -> int:
        """See `timing.flops`."""
        return self._ask('flops', name)

    def result(self, name: str) -> torch.Tensor:
        """What one call gives."""
        return torch.from_numpy(self._ask('result', name))

    def timers(self, names: Iterable[str] | None = None) -> dict[str, Callable[[], float]]:
        """For `timing.take_turns`."""
        return {name: lambda name=name: self.seconds(name) for name in (self.names if names is None else names)}  # type: ignore[misc]

    def _ask(self, what: str, name: str) -> Any:
        self.connection.send((what, name))
        return self._answer()

    def _answer(self) -> Any:
        try:
            return self.connection.recv()
        except EOFError:
            raise SystemExit('a process of the benchmark ended: see above') from None


@torch.inference_mode()
def _serve(connection: Connection, make: Make, args: tuple[Any, ...], device: torch.device, keep_memory: bool) -> None:
    if keep_memory:
        keep_freed_memory()
    contestants = make(*args)
    do: dict[str, Callable[[Callable[[], Any]], Any]] = {
        'seconds': lambda run: timing.seconds(run, device),
        'peak_bytes': lambda run: timing.peak_bytes(run, device),
        'flops': timing.flops,
        'result': lambda run: run().float().cpu().numpy(),
    }
    connection.send(list(contestants))
    while True:
        try:
            what, name = connection.recv()
        except EOFError:
            return
        connection.send(do[what](contestants[name]))

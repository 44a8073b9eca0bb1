"""Processes that build and run networks for a benchmark, so that each network runs with the C library's allocator as its users have it."""

import multiprocessing
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection
from typing import Any

import timing
import torch

from frex.utils.allocator import keep_freed_memory

Make = Callable[..., timing.Candidates]


class IsolatedProcess:
    """A process that builds candidates with `make(*args)` and runs one when asked; a failure in it ends the benchmark.

    `names` are those of the candidates. With `keep_memory` the process keeps the memory that it frees, as the tools of FREx do.
    """

    def __init__(self, make: Make, *args: Any, device: torch.device, keep_memory: bool) -> None:
        context = multiprocessing.get_context('spawn')
        self.connection, theirs = context.Pipe()
        context.Process(target=_serve, args=(theirs, make, args, device, keep_memory), daemon=True).start()
        # Else the end of the process would not be noticed.
        theirs.close()
        self.names: list[str] = self._answer()

    def seconds(self, name: str) -> float:
        """Return the seconds of one call of the candidate `name`."""
        return self._ask('seconds', name)

    def measure_peak_bytes(self, name: str) -> int | None:
        """Return `timing.measure_peak_bytes` of the candidate `name`."""
        return self._ask('measure_peak_bytes', name)

    def flops(self, name: str) -> int:
        """Return `timing.count_flops` of the candidate `name`."""
        return self._ask('flops', name)

    def result(self, name: str) -> torch.Tensor:
        """Return the result of one call of the candidate `name`, as float32 on the CPU."""
        return torch.from_numpy(self._ask('result', name))

    def timers(self, names: Iterable[str] | None = None) -> dict[str, Callable[[], float]]:
        """Return a function for each of `names`, None for all candidates, that runs the candidate once and returns the seconds.

        `timing.take_turns` takes them.
        """
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
    """Build the candidates and answer requests until the connection is closed; this is what the process runs."""
    if keep_memory:
        keep_freed_memory()
    candidates = make(*args)
    do: dict[str, Callable[[Callable[[], Any]], Any]] = {
        'seconds': lambda run: timing.time_call(run, device),
        'measure_peak_bytes': lambda run: timing.measure_peak_bytes(run, device),
        'flops': timing.count_flops,
        'result': lambda run: run().float().cpu().numpy(),
    }
    connection.send(list(candidates))
    while True:
        try:
            what, name = connection.recv()
        except EOFError:
            return
        connection.send(do[what](candidates[name]))

"""Commands in processes of their own, forked from one that has imported torch and BasicSR, which takes a new Python seconds.

Other tests run the command lines `python -m frex` and `torchrun` themselves.
"""

import multiprocessing
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch.distributed.run

ROOT = Path(__file__).parents[2]
"""The checkout."""
HELPERS = Path(__file__).parent
"""This folder, for the import path of processes."""

CONTEXT = multiprocessing.get_context('forkserver')
CONTEXT.set_forkserver_preload(
    ['frex.training.pipeline', 'frex.models.frex_model', 'frex.restore', 'frex.synthesis.synthesize', 'torch.distributed.run']
)


def _run(main: Callable[[list[str]], Any], arguments: list[str], folder: Path, files: tuple[Path, Path], words: dict[str, str]) -> None:
    # As if this were no process of multiprocessing's.
    multiprocessing.set_start_method(None, force=True)
    os.setsid()
    os.chdir(folder)
    os.environ |= words
    for file, descriptor in zip(files, (1, 2), strict=True):
        os.dup2(os.open(file, os.O_WRONLY | os.O_APPEND), descriptor)
    sys.exit(main(arguments))


class Command:
    """A process that runs `main(arguments)` in the working directory `folder`, with more `environment`; it starts at once.

    `stdout` and `stderr` are what it has written so far.
    """

    def __init__(self, main: Callable[[list[str]], Any], *arguments: object, folder: Path, **environment: str) -> None:
        self._logs = TemporaryDirectory()
        self._files = Path(self._logs.name, 'out'), Path(self._logs.name, 'err')
        for file in self._files:
            file.touch()
        self._process = CONTEXT.Process(
            target=_run, args=(main, [str(argument) for argument in arguments], folder, self._files, environment)
        )
        self._process.start()
        self.pid = self._process.pid

    @property
    def stdout(self) -> str:
        return self._files[0].read_text()

    @property
    def stderr(self) -> str:
        return self._files[1].read_text()

    @property
    def running(self) -> bool:
        return self._process.is_alive()

    def send_signal(self, number: int) -> None:
        """Send a signal to the process alone."""
        os.kill(self.pid, number)

    def send_signal_to_all(self, number: int) -> None:
        """Send a signal to the process and to those that it has started."""
        os.killpg(self.pid, number)

    def wait(self, timeout: float = 200) -> int:
        """Wait for the end of the process, at most `timeout` seconds, and return its exit status, negative after a signal."""
        self._process.join(timeout)
        assert self._process.exitcode is not None, f'still running after {timeout} s'
        return self._process.exitcode


def torchrun(script: Path, *arguments: object, folder: Path) -> Command:
    """Start `torchrun --standalone --nproc_per_node=2` on a script; its two processes are forked as well."""
    forked = ('--standalone', '--nproc_per_node=2', '--start_method=fork', '--run_path')
    return Command(torch.distributed.run.main, *forked, script, *arguments, folder=folder)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]

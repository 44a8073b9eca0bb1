"""Metrics of an installed pyiqa as an outside scorer: a process of its own, possibly of another Python, computes them."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from frex.environment import is_offline
from frex.errors import FRExError, nearest
from frex.evaluation import pyiqa_process
from frex.images import Image
from frex.metrics.metric import Metric, MetricFunction

# What stands before the names of these metrics in reports, where FREx's own metrics may have the same names.
PREFIX = 'pyiqa'
DIGITS = 4


class PyiqaScorer:
    """pyiqa in a running `process` of `python`. `metrics` describe what it computes, for tables; their titles name pyiqa and its version.

    `names` are pyiqa's names of the metrics, each given once, which it computes on `device`. Raises FRExError, which says what to do, where
    pyiqa or a metric cannot be used.
    """

    def __init__(self, process: 'subprocess.Popen[bytes]', python: str, names: Sequence[str], device: torch.device) -> None:
        self._process, self._python = process, python
        order = {'metrics': list(names), 'device': str(device), 'offline': is_offline()}
        found = self._exchange(json.dumps(order).encode() + b'\n')
        if 'missing' in found:
            raise FRExError(
                f'--pyiqa: {self._python} has no pyiqa ({found["missing"]}); install it there: pip install pyiqa, '
                'or name a Python that has it: --pyiqa_python'
            )
        if 'unknown' in found:
            raise FRExError(f'--pyiqa {found["unknown"]}: unknown to this pyiqa; {nearest(found["unknown"], found["known"])}')
        self.names = tuple(names)
        self.metrics = tuple(_describe(name, found['version'], found['metrics'][name]) for name in names)

    def score(self, restored: Image, gt: Image) -> dict[str, float]:
        """Return the scores that the process computes for a restored image, by metric key; both images are BGR uint8 of one size.

        Raises FRExError where pyiqa fails, and where the process has ended.
        """
        height, width = restored.shape[:2]
        pixels = (np.ascontiguousarray(image[:, :, ::-1]).tobytes() for image in (restored, gt))
        header = json.dumps({'height': height, 'width': width}).encode() + b'\n'
        scores = self._exchange(b''.join([header, *pixels]))['scores']
        return {metric.key: float(scores[name]) for name, metric in zip(self.names, self.metrics, strict=True)}

    def _exchange(self, request: bytes) -> dict[str, Any]:
        """Send a request and return its answer; raise FRExError where it has failed, or where the process has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        line = b''
        with suppress(OSError):
            self._process.stdin.write(request)
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            ended = f'ended with status {status}' if status >= 0 else 'was killed, probably because memory ran out'
            raise FRExError(f'--pyiqa: the process of {self._python} {ended}')
        answer: dict[str, Any] = json.loads(line)
        if 'error' in answer:
            raise FRExError(f'--pyiqa: pyiqa failed: {answer["error"]}')
        return answer


@contextmanager
def start_pyiqa(names: Sequence[str], python: Path | None, device: torch.device) -> Iterator[PyiqaScorer | None]:
    """Start a process that computes pyiqa's metrics `names`, and end it after the block; None without names.

    `python` is the Python that has pyiqa, None for this one. Raises FRExError where it cannot be run, and as `PyiqaScorer` does.
    """
    if not names:
        yield None
        return
    command = [sys.executable if python is None else str(python), pyiqa_process.__file__]
    try:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    except OSError as error:
        raise FRExError(f'--pyiqa_python {command[0]}: cannot be run ({error.strerror or error})') from None
    try:
        yield PyiqaScorer(process, command[0], list(dict.fromkeys(names)), device)
    finally:
        process.kill()
        process.communicate()


def _describe(name: str, version: str, found: Mapping[str, bool]) -> Metric:
    """Return the description of pyiqa's metric `name`; `found` is what its process says of it."""
    return Metric(
        f'{PREFIX}_{name}',
        f'{name} ({PREFIX} {version})',
        'lower' if found['lower_better'] else 'higher',
        DIGITS,
        needs_gt=found['needs_gt'],
        protocol=f'{name} of pyiqa {version} with its defaults, run outside of FREx on the same pixels, RGB in [0, 1]; mean over images',
        load=_refuse,
    )


def _refuse(weights: Path | None, device: torch.device) -> MetricFunction:
    """Raise TypeError, because pyiqa's metrics run in their own process; see `PyiqaScorer.score`."""
    raise TypeError('a metric of pyiqa cannot be loaded into this process')

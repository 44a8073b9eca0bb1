"""The networks beside FREx: read when they are first needed, and once."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import torch

from frex.restore.detection.retinaface import Detector, FaceDetector
from frex.restore.faces import identity, parsing
from frex.restore.faces.identity import Identity
from frex.restore.faces.parsing import FaceParser
from frex.weights.locate import FileStatus, find_file
from frex.weights.manifest import entry

T = TypeVar('T')


class Lazy(Generic[T]):
    """What `build` makes: made by the first thread that asks, the same for all. A failure is not kept."""

    def __init__(self, build: Callable[[], T]) -> None:
        self._build, self._lock = build, threading.Lock()
        self._made: list[T] = []

    def __call__(self) -> T:
        with self._lock:
            if not self._made:
                self._made.append(self._build())
            return self._made[0]


class HelperNetworks:
    """Detector, parser and ArcFace on a device.

    `weights` is a folder that is searched first, `detection_model` a key of the manifest, `detector` takes the place of facexlib's.
    The parser and ArcFace are None where their files are not there. All raise FRExError where their files are damaged, the
    detector also where its file is missing.
    """

    def __init__(
        self,
        device: torch.device | str = 'cpu',
        weights: Path | None = None,
        detection_model: str | None = None,
        detector: Detector | None = None,
    ) -> None:
        self.detector: Lazy[Detector] = Lazy(lambda: detector or FaceDetector.from_weights(weights, device, detection_model))
        self.parser = Lazy(lambda: FaceParser.from_weights(weights, device) if _is_there(parsing.KEY, weights) else None)
        self.identity = Lazy(lambda: Identity.from_weights(weights, device) if _is_there(identity.KEY, weights) else None)


def _is_there(key: str, weights: Path | None) -> bool:
    return find_file(entry(key), weights).state is not FileStatus.MISSING

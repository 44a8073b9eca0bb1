"""Reading, the network and writing at the same time, with few images in memory."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

# Of each kind. Decoding, resizing and coding let other threads run.
THREADS = 2
# Bytes of images, in and out, that are held at once; one image may be larger, and is then held alone.
ROOM = 400e6
# With more faces than this many batches in memory, restored or not, no further image is let in.
MOST_BATCHES = 4
# Seconds after which a wish to stop is noticed.
PATIENCE = 0.5

Job = TypeVar('Job')
Face = TypeVar('Face')
Result = TypeVar('Result')
Record = TypeVar('Record')
Seen = TypeVar('Seen', covariant=True)


@runtime_checkable
class Prepared(Protocol[Seen]):
    """An image in memory, with the faces that the network is to see; there may be none."""

    @property
    def faces(self) -> Sequence[Seen]: ...


class PipelineStages(ABC, Generic[Job, Face, Result, Record]):
    """What is done with each image. `prepare` and `finish` run in several threads, all others in the caller's."""

    @abstractmethod
    def bytes_of(self, job: Job) -> float:
        """How much memory the image will take, in and out. Never raises."""

    @abstractmethod
    def prepare(self, job: Job) -> Prepared[Face]:
        """Read the image, and find its faces."""

    @abstractmethod
    def restore(self, faces: Sequence[Face]) -> Sequence[Result]:
        """Restore a batch of faces, of several images."""

    @abstractmethod
    def finish(self, prepared: Any, results: Sequence[Result]) -> Record:
        """Write what comes of an image; `results` are those of its faces, in their order."""

    @abstractmethod
    def done(self, job: Job, record: Record) -> None:
        """Hear of an image that is written."""

    @abstractmethod
    def failed(self, job: Job, error: Exception) -> None:
        """Hear of an image that a stage could not do."""


@dataclass(eq=False)
class InFlight(Generic[Job, Face, Result]):
    """An image on its way. `results` are filled as its faces come back."""

    job: Job
    size: float
    prepared: Prepared[Face] | None = None
    results: dict[int, Result] = field(default_factory=dict)


class ThreadedPipeline(Generic[Job, Face, Result, Record]):
    """Takes images through `stages`, the network in this thread, everything else in others.

    A batch is run when `batch_size` faces wait, or some wait and no image is being read. Images are let in while they fit
    into `room` bytes, are no more than fill two batches, and do not bring too many faces.
    """

    def __init__(
        self, stages: PipelineStages[Job, Face, Result, Record], batch_size: int, room: float = ROOM, threads: int = THREADS
    ) -> None:
        self.stages, self.batch_size, self.room, self.threads = stages, batch_size, room, threads
        self.most = 2 * (batch_size + threads)
        self.held: set[InFlight[Job, Face, Result]] = set()
        self.waiting: deque[tuple[InFlight[Job, Face, Result], int]] = deque()
        self.reading: dict[Future[Any], InFlight[Job, Face, Result]] = {}
        self.writing: dict[Future[Any], InFlight[Job, Face, Result]] = {}

    def run(self, jobs: Iterable[Job], stopped: Callable[[], bool] = lambda: False) -> None:
        """All images, or, once `stopped` says so, those that are being written."""
        upcoming = self._sized(jobs)
        with ThreadPoolExecutor(self.threads, 'read') as self.readers, ThreadPoolExecutor(self.threads, 'write') as self.writers:
            self.upcoming = next(upcoming, None)
            self._admit(upcoming)
            while self.held and not stopped():
                self._collect(0 if self._is_ready() else PATIENCE)
                self._admit(upcoming)
                if self._is_ready():
                    self._restore([self.waiting.popleft() for _ in range(min(self.batch_size, len(self.waiting)))])
            self.readers.shutdown(wait=False, cancel_futures=True)
            self.reading.clear()
            while self.writing:
                self._collect(PATIENCE)

    def _sized(self, jobs: Iterable[Job]) -> Iterator[InFlight[Job, Face, Result]]:
        return (InFlight(job, self.stages.bytes_of(job)) for job in jobs)

    def _is_ready(self) -> bool:
        return len(self.waiting) >= self.batch_size or bool(self.waiting and not self.reading)

    def _admit(self, upcoming: Iterator[InFlight[Job, Face, Result]]) -> None:
        while self.upcoming is not None and self._fits(self.upcoming.size):
            self.held.add(self.upcoming)
            self.reading[self.readers.submit(self.stages.prepare, self.upcoming.job)] = self.upcoming
            self.upcoming = next(upcoming, None)

    def _fits(self, size: float) -> bool:
        if not self.held:
            return True
        used, faces = sum(held.size for held in self.held), sum(len(_faces(held)) for held in self.held)
        # How many faces an image brings is not known before it is read.
        few = len(self.held) < self.most and len(self.reading) < 2 * self.threads and faces <= MOST_BATCHES * self.batch_size
        return few and used + size <= self.room

    def _collect(self, seconds: float) -> None:
        """What the threads have done by now, waiting for it if need be."""
        done, _ = wait([*self.reading, *self.writing], timeout=seconds, return_when=FIRST_COMPLETED)
        for future in done:
            is_read = future in self.reading
            held = self.reading.pop(future) if is_read else self.writing.pop(future)
            error = future.exception()
            if error is not None:
                self._fail(held, error)
            elif is_read:
                self._take(held, future.result())
            else:
                self.held.discard(held)
                self.stages.done(held.job, future.result())

    def _take(self, held: InFlight[Job, Face, Result], prepared: Prepared[Face]) -> None:
        held.prepared = prepared
        self.waiting.extend((held, number) for number in range(len(prepared.faces)))
        self._write_if_whole(held)

    def _restore(self, batch: Sequence[tuple[InFlight[Job, Face, Result], int]]) -> None:
        try:
            results = self.stages.restore([_faces(held)[number] for held, number in batch])
        except Exception as error:
            self._restore_apart(batch, error)
            return
        for (held, number), result in zip(batch, results, strict=True):
            held.results[number] = result
        for held in {held for held, _ in batch}:
            self._write_if_whole(held)

    def _restore_apart(self, batch: Sequence[tuple[InFlight[Job, Face, Result], int]], error: Exception) -> None:
        """A batch that failed: each image by itself, so that only what cannot be done fails."""
        pictures = list(dict.fromkeys(held for held, _ in batch))
        if len(pictures) == 1:
            self._fail(pictures[0], error)
            return
        for picture in pictures:
            self._restore([(held, number) for held, number in batch if held is picture])

    def _write_if_whole(self, held: InFlight[Job, Face, Result]) -> None:
        numbers = range(len(_faces(held)))
        if len(held.results) == len(numbers):
            results = [held.results[number] for number in numbers]
            self.writing[self.writers.submit(self.stages.finish, held.prepared, results)] = held

    def _fail(self, held: InFlight[Job, Face, Result], error: BaseException) -> None:
        if not isinstance(error, Exception):
            raise error
        self.held.discard(held)
        self.waiting = deque(item for item in self.waiting if item[0] is not held)
        self.stages.failed(held.job, error)


def _faces(held: InFlight[Job, Face, Result]) -> Sequence[Face]:
    return () if held.prepared is None else held.prepared.faces

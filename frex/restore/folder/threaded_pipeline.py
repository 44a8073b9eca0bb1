"""Read images, run the network and write results at the same time, with a bounded number of images in memory."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

# Number of threads that read, and of those that write. Decoding, resizing and encoding release Python's lock.
THREADS = 2
# Most bytes of images and results in memory at a time. A larger image is handled alone.
MEMORY_BYTES = 400e6
# No further image is admitted while there are more faces in memory than fill this many batches.
MOST_BATCHES = 4
# Seconds after which a request to stop is noticed at the latest.
POLL_SECONDS = 0.5

Job = TypeVar('Job')
Face = TypeVar('Face')
Result = TypeVar('Result')
Record = TypeVar('Record')
FaceType = TypeVar('FaceType', covariant=True)


@runtime_checkable
class Prepared(Protocol[FaceType]):
    """An image in memory with the faces for the network; there may be none."""

    @property
    def faces(self) -> Sequence[FaceType]:
        """The faces that `PipelineStages.restore` takes."""


class PipelineStages(ABC, Generic[Job, Face, Result, Record]):
    """The stages through which each image goes. `prepare` and `finish` run in several threads, `restore` in the caller's thread."""

    @abstractmethod
    def bytes_of(self, job: Job) -> float:
        """Return how many bytes of memory the image and its result will take; never raise."""

    @abstractmethod
    def prepare(self, job: Job) -> Prepared[Face]:
        """Read the image, and find its faces."""

    @abstractmethod
    def restore(self, faces: Sequence[Face]) -> Sequence[Result]:
        """Restore a batch of faces, of several images."""

    @abstractmethod
    def finish(self, prepared: Any, results: Sequence[Result]) -> Record:
        """Write the results of an image and return its record; `results` are those of its faces, in their order."""


@dataclass(eq=False)
class InFlight(Generic[Job, Face, Result]):
    """An image that is in the pipeline. `size` is its memory in bytes; `results` holds the results of its faces by their numbers."""

    job: Job
    size: float
    prepared: Prepared[Face] | None = None
    results: dict[int, Result] = field(default_factory=dict)


class ThreadedPipeline(Generic[Job, Face, Result, Record]):
    """Runs images through `stages`: the network in the caller's thread, reading and writing in `threads` threads each.

    A batch is run when `batch_size` faces wait, or some wait and no image is being read. Images are admitted while they fit into
    `memory` bytes, while their number is small in relation to the batch size, and while there are not too many faces in memory.
    """

    def __init__(
        self, stages: PipelineStages[Job, Face, Result, Record], batch_size: int, memory: float = MEMORY_BYTES, threads: int = THREADS
    ) -> None:
        self.stages, self.batch_size, self.memory, self.threads = stages, batch_size, memory, threads
        self.most_in_flight = 2 * (batch_size + threads)
        self.in_flight: set[InFlight[Job, Face, Result]] = set()
        self.waiting: deque[tuple[InFlight[Job, Face, Result], int]] = deque()
        self.reading: dict[Future[Any], InFlight[Job, Face, Result]] = {}
        self.writing: dict[Future[Any], InFlight[Job, Face, Result]] = {}

    def run(self, jobs: Iterable[Job], stopped: Callable[[], bool] = lambda: False) -> Iterator[tuple[Job, Record | Exception]]:
        """Handle all jobs, and yield each as soon as it is done, with its record, or with the error of the stage that failed on it.

        When `stopped` returns True, only the images that are being written are finished.
        """
        upcoming = self._measure_jobs(jobs)
        with ThreadPoolExecutor(self.threads, 'read') as self.readers, ThreadPoolExecutor(self.threads, 'write') as self.writers:
            self.upcoming = next(upcoming, None)
            self._admit(upcoming)
            while self.in_flight and not stopped():
                yield from self._collect(0 if self._is_ready() else POLL_SECONDS)
                self._admit(upcoming)
                if self._is_ready():
                    yield from self._restore([self.waiting.popleft() for _ in range(min(self.batch_size, len(self.waiting)))])
            self.readers.shutdown(wait=False, cancel_futures=True)
            self.reading.clear()
            while self.writing:
                yield from self._collect(POLL_SECONDS)

    def _measure_jobs(self, jobs: Iterable[Job]) -> Iterator[InFlight[Job, Face, Result]]:
        return (InFlight(job, self.stages.bytes_of(job)) for job in jobs)

    def _is_ready(self) -> bool:
        return len(self.waiting) >= self.batch_size or bool(self.waiting and not self.reading)

    def _admit(self, upcoming: Iterator[InFlight[Job, Face, Result]]) -> None:
        while self.upcoming is not None and self._fits(self.upcoming.size):
            self.in_flight.add(self.upcoming)
            self.reading[self.readers.submit(self.stages.prepare, self.upcoming.job)] = self.upcoming
            self.upcoming = next(upcoming, None)

    def _fits(self, size: float) -> bool:
        if not self.in_flight:
            return True
        used, faces = sum(image.size for image in self.in_flight), sum(len(_faces(image)) for image in self.in_flight)
        # The number of an image's faces is not known before it is read.
        few = len(self.in_flight) < self.most_in_flight and len(self.reading) < 2 * self.threads and faces <= MOST_BATCHES * self.batch_size
        return few and used + size <= self.memory

    def _collect(self, seconds: float) -> Iterator[tuple[Job, Record | Exception]]:
        """Handle what the threads have finished, and yield the jobs that are done; wait for the threads for up to `seconds`."""
        done, _ = wait([*self.reading, *self.writing], timeout=seconds, return_when=FIRST_COMPLETED)
        for future in done:
            was_reading = future in self.reading
            image = self.reading.pop(future) if was_reading else self.writing.pop(future)
            error = future.exception()
            if error is not None:
                yield self._drop(image, error)
            elif was_reading:
                self._queue_faces(image, future.result())
            else:
                self.in_flight.discard(image)
                yield image.job, future.result()

    def _queue_faces(self, image: InFlight[Job, Face, Result], prepared: Prepared[Face]) -> None:
        image.prepared = prepared
        self.waiting.extend((image, number) for number in range(len(prepared.faces)))
        self._write_if_complete(image)

    def _restore(self, batch: Sequence[tuple[InFlight[Job, Face, Result], int]]) -> Iterator[tuple[Job, Exception]]:
        """Restore a batch of faces, given as images and the faces' numbers in them; yield the jobs on which this fails."""
        try:
            results = self.stages.restore([_faces(image)[number] for image, number in batch])
        except Exception as error:
            yield from self._restore_separately(batch, error)
            return
        for (image, number), result in zip(batch, results, strict=True):
            image.results[number] = result
        for image in {image for image, _ in batch}:
            self._write_if_complete(image)

    def _restore_separately(
        self, batch: Sequence[tuple[InFlight[Job, Face, Result], int]], error: Exception
    ) -> Iterator[tuple[Job, Exception]]:
        """Restore the faces of a failed batch again, one image at a time, so that only the images that cause the error fail."""
        images = list(dict.fromkeys(image for image, _ in batch))
        if len(images) == 1:
            yield self._drop(images[0], error)
            return
        for one in images:
            yield from self._restore([(image, number) for image, number in batch if image is one])

    def _write_if_complete(self, image: InFlight[Job, Face, Result]) -> None:
        numbers = range(len(_faces(image)))
        if len(image.results) == len(numbers):
            results = [image.results[number] for number in numbers]
            self.writing[self.writers.submit(self.stages.finish, image.prepared, results)] = image

    def _drop(self, image: InFlight[Job, Face, Result], error: BaseException) -> tuple[Job, Exception]:
        """Take an image on which a stage failed out of the pipeline; return its job and the error."""
        if not isinstance(error, Exception):
            raise error
        self.in_flight.discard(image)
        self.waiting = deque(item for item in self.waiting if item[0] is not image)
        return image.job, error


def _faces(image: InFlight[Job, Face, Result]) -> Sequence[Face]:
    return () if image.prepared is None else image.prepared.faces

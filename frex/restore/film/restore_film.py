"""Restore a film or a folder of frames as a stream: a few frames are in memory at a time, whatever its length."""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain, count, islice
from typing import NamedTuple, Protocol, runtime_checkable

from frex.restore.detection.selection import Selection
from frex.restore.faces.photo import Face, Upsampler
from frex.restore.faces.restorer import FaceRestorer
from frex.restore.faces.results import Restoration
from frex.restore.film.formats import FilmFormat, FilmFrame
from frex.restore.film.segments import SEGMENT_FRAMES, Segment, WorkFolder
from frex.restore.film.tracking import Followed, Tracker, TrackerState, steady_codes
from frex.restore.image_io.color_modes import to_eight_bit
from frex.restore.image_io.photo_file import Photo

# Most bytes of the frames that are in memory with their results, and most of these frames.
MEMORY_BYTES, MOST_FRAMES = 200e6, 16
# A face that is followed may have a score that is lower than the threshold by this factor, so that it is not lost for single frames.
FOLLOWED_SCORE = 0.6

Describe = Callable[[Photo, Sequence[Face], Sequence[Restoration]], list[str]]
"""A function that returns the notes on an image with its faces and their restorations."""


@runtime_checkable
class Source(Protocol):
    """A film, or a folder of frames; `notes` say what its result will not keep."""

    format: FilmFormat
    notes: list[str]

    def frames(self, start: int = 0) -> Iterator[FilmFrame]:
        """Yield the frames from number `start` on."""

    def late_notes(self, frames: int) -> Iterator[str]:
        """Yield notes on what was wrong; to be called after all frames have been read, whose number is `frames`."""


@runtime_checkable
class FrameWriter(Protocol):
    """Writes the frames of a segment."""

    def write(self, photo: Photo, pts: int) -> tuple[str, ...]:
        """Write a frame, and return notes on what it does not keep; `pts` is that of the input frame."""


@runtime_checkable
class Output(Protocol):
    """The result of a film or of a folder of frames."""

    def segment(self, number: int) -> AbstractContextManager[FrameWriter]:
        """Return a context that writes a segment, which is complete when the context ends without an error."""

    def join(self, segments: int) -> None:
        """Make the result of all segments, of which there are `segments`."""


@dataclass(frozen=True)
class FilmOptions:
    """How films are restored: the arguments of `FaceRestorer`'s methods, and with `tracking` faces are followed from frame to frame.

    `bg_upsampler` enlarges the frames around the faces, and `face_upsampler` small restored faces; None interpolates.
    """

    upscale: float = 1.0
    fidelity_weight: float = 1.0
    structure_weight: float = 1.0
    selection: Selection = field(default_factory=Selection)
    force: bool = False
    tracking: bool = True
    bg_upsampler: Upsampler | None = None
    face_upsampler: Upsampler | None = None


class FilmStoppedError(Exception):
    """The run was asked to stop; the finished segments remain for the next one."""


class FoundFace(NamedTuple):
    """A face of a frame, cut out, and how it was followed; `followed` is None without tracking."""

    face: Face
    followed: Followed | None


class FilmRestorer:
    """Restores films with the networks of `restorer`; `describe` says what is to be noted of a frame."""

    def __init__(self, restorer: FaceRestorer, options: FilmOptions, describe: Describe = lambda *given: []) -> None:
        self.restorer, self.options, self.describe = restorer, options, describe

    def restore(
        self,
        source: Source,
        output: Output,
        work: WorkFolder,
        stopped: Callable[[], bool] = lambda: False,
        advance: Callable[[int], object] = lambda frames: None,
    ) -> list[Segment]:
        """Restore the frames of `source` into segments, but for those that are finished in `work`, and return all segments.

        The segments are not joined: see `Output.join`. `advance` is called with the number of frames in the finished segments, then
        with the number of each few frames that have been restored. Raises FilmStoppedError where `stopped` returns True before the
        last frame, and FRExError where something cannot be read or written.
        """
        segments = work.finished()
        state = segments[-1].tracker if segments else TrackerState()
        start = sum(segment.frames for segment in segments)
        advance(start)
        frames, at_once = source.frames(start), frames_at_once(source.format, self.options)
        for number in count(len(segments)):
            ahead = next(frames, None)
            if ahead is None:
                break
            run = _SegmentRun(self, self._tracker(state), start)
            with output.segment(number) as writer:
                for chunk in run.read(chain([ahead], islice(frames, SEGMENT_FRAMES - 1)), at_once):
                    if stopped():
                        raise FilmStoppedError
                    run.restore(chunk, writer)
                    advance(len(chunk))
            segment = run.finish()
            work.finish(number, segment)
            segments.append(segment)
            state, start = segment.tracker, start + segment.frames
        return segments

    def _tracker(self, state: TrackerState) -> Tracker:
        selection = self.options.selection
        return Tracker(state, selection.threshold, selection.only)


class _SegmentRun:
    """The restoration of one segment, whose first frame has the number `start`."""

    def __init__(self, film: FilmRestorer, tracker: Tracker, start: int) -> None:
        self.film, self.restorer, self.options, self.tracker = film, film.restorer, film.options, tracker
        self.number = start
        self.segment = Segment(seconds=dict.fromkeys(('read', 'detect', 'restore', 'write'), 0.0))

    def read(self, frames: Iterable[FilmFrame], at_once: int) -> Iterator[list[FilmFrame]]:
        """Yield the frames, `at_once` at a time."""
        frames = iter(frames)
        while True:
            with self._clock('read'):
                chunk = list(islice(frames, at_once))
            if not chunk:
                return
            yield chunk

    def restore(self, chunk: Sequence[FilmFrame], writer: FrameWriter) -> None:
        """Restore some frames and write them."""
        for frame, photo in zip(chunk, self._restore_chunk(chunk), strict=True):
            self.segment.first = frame.time if self.segment.frames == 0 else self.segment.first
            self.segment.last, self.segment.frames = frame.time, self.segment.frames + 1
            with self._clock('write'):
                notes = writer.write(photo, frame.pts)
            self._note(notes)

    def finish(self) -> Segment:
        """Return what is known of the segment, after all of its frames."""
        self.segment.tracker, self.segment.ended = self.tracker.state, [track.record() for track in self.tracker.ended]
        return self.segment

    def _restore_chunk(self, chunk: Sequence[FilmFrame]) -> Iterator[Photo]:
        """Yield the restored frames; the faces of all frames go through the network together."""
        with self._clock('detect'):
            found = [self._find(frame) for frame in chunk]
        with self._clock('restore'):
            restorations = iter(self._run_network([one for faces in found for one in faces]))
        for frame, faces in zip(chunk, found, strict=True):
            own = [next(restorations) for _ in faces]
            with self._clock('write'):
                pasted = self._paste(frame.photo, [one.face for one in faces], own)
            self._count(frame.photo, faces, own)
            yield pasted

    def _find(self, frame: FilmFrame) -> list[FoundFace]:
        photo, options, number = frame.photo, self.options, self.number
        self.number += 1
        if not options.tracking:
            return [FoundFace(face, None) for face in self.restorer.find_faces(photo, options.selection, options.force)]
        selection = replace(options.selection, threshold=FOLLOWED_SCORE * options.selection.threshold, only='all')
        detected = self.restorer.detect_faces(photo, selection)
        followed = self.tracker.follow(number, frame.time, to_eight_bit(photo.image), detected)
        faces = self.restorer.cut_out_faces(photo, [one.face for one in followed], options.force)
        return [FoundFace(one.track.steady_keep(face), one) for one, face in zip(followed, faces, strict=True)]

    def _run_network(self, found: Sequence[FoundFace]) -> list[Restoration]:
        code, options = None, self.options
        sound = [one for one in found if one.face.problem is None and one.face.keep is None]
        followed = [one.followed for one in sound if one.followed is not None]
        if followed:
            code = steady_codes(followed, self.restorer.encode_found([one.face for one in sound]))
        faces = [one.face for one in found]
        return self.restorer.restore_found(faces, options.fidelity_weight, options.structure_weight, code=code)

    def _paste(self, photo: Photo, faces: Sequence[Face], restorations: Sequence[Restoration]) -> Photo:
        options = self.options
        return self.restorer.paste(photo, faces, restorations, options.upscale, options.bg_upsampler, options.face_upsampler)

    def _count(self, photo: Photo, found: Sequence[FoundFace], restorations: Sequence[Restoration]) -> None:
        """Count the faces of a frame, and failed ones by the reason; add each result to its track; collect the notes on the frame."""
        for one, restoration in zip(found, restorations, strict=True):
            self.segment.faces += one.face.problem is None
            if one.followed is not None:
                one.followed.track.count(one.face, restoration)
            if restoration.problem is not None and one.face.problem is None and one.face.keep is None:
                self.segment.failures[restoration.problem] = self.segment.failures.get(restoration.problem, 0) + 1
        self._note((*photo.notes, *self.film.describe(photo, [one.face for one in found], restorations)))

    def _note(self, notes: Iterable[str]) -> None:
        for note in notes:
            self.segment.notes.setdefault(re.sub(r'\d+', '#', note), note)

    @contextmanager
    def _clock(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.segment.seconds[stage] += time.perf_counter() - start


def frames_at_once(layout: FilmFormat, options: FilmOptions) -> int:
    """Return how many frames of this layout may be in memory at a time, with their results: 1 to MOST_FRAMES."""
    size = 3 * layout.width * layout.height * (2 if layout.deep else 1) * (1 + options.upscale**2)
    return max(1, min(MOST_FRAMES, int(MEMORY_BYTES // size)))

"""Read films: their layout from the header, and their frames one after the other, however long they are."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import UInt

from frex.errors import FRExError, one_line
from frex.restore.film.formats import EXACT_CONVERSION, HDR_TRANSFERS, MATRIX_BT709, MATRIX_RGB, Colours, FilmFormat, FilmFrame
from frex.restore.image_io.headers import check_pixels
from frex.restore.image_io.metadata import Metadata
from frex.restore.image_io.photo_file import Photo, is_colourless
from frex.utils.extras import require_package

# The rate of films that state none.
USUAL_RATE = Fraction(25)
# FFmpeg's name of the side data that encrypted packets have.
ENCRYPTED = 'encryption_info'
Pixels = UInt[np.ndarray, 'height width 3']


class FilmReader:
    """An open film, of which the first stream of images is read; a `with` block closes it.

    `format` is its layout, judged by the first frame. `notes` lists what the result will not keep; see `late_notes` for what is wrong
    with the film. Raises FRExError where the file is no film, is encrypted, has no stream of images or no frame that can be decoded, or
    has frames of more than MOST_PIXELS pixels, and where PyAV or its decoder for the film is missing.
    """

    def __init__(self, path: Path) -> None:
        require_package('av', 'reading a film')
        self.path = path
        self.damaged = self.retimed = 0
        self._container = _open(path)
        try:
            self._stream = self._choose_stream()
            self._decoded = self._decode()
            first = next(self._decoded, None)
            if first is None:
                raise FRExError(f'{path}: no frame can be decoded: the film is empty, damaged or encrypted')
            self._turns = round(first.rotation / 90) % 4
            self._decoded = chain([first], self._decoded)
            self.format = self._describe(first)
            self.notes = list(self._losses(first))
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> 'FilmReader':
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._container.close()

    @property
    def stated_frames(self) -> int | None:
        """The number of frames that the header states or that follows from the duration; None where it says neither."""
        stream = self._stream
        if stream.frames:
            return int(stream.frames)
        seconds = stream.duration * stream.time_base if stream.duration else Fraction(self._container.duration or 0, 1_000_000)
        return round(seconds * self.format.rate) or None

    @property
    def sound(self) -> list[Any]:
        """The streams of sound."""
        return list(self._container.streams.audio)

    @property
    def metadata(self) -> dict[str, str]:
        """The film's own metadata by their names, such as its title."""
        return dict(self._container.metadata)

    def frames(self, start: int = 0) -> Iterator[FilmFrame]:
        """Yield the frames from number `start` on, counted from 0, upright, with 16 bit in deep films. To be called once.

        Earlier frames are decoded, but not converted. Times increase strictly: where the film's do not, they are corrected and counted in
        `retimed`. Packets that cannot be decoded are left out and counted in `damaged`. Frames whose size changes within the film are
        yielded at their own size. Raises FRExError at an encrypted packet.
        """
        last: int | None = None
        step = max(1, round(1 / (self.format.rate * self.format.time_base)))
        for number, frame in enumerate(self._decoded):
            pts = frame.pts if frame.pts is not None else 0 if last is None else last + step
            if last is not None and pts <= last:
                pts = last + 1
                self.retimed += 1
            last = pts
            if number >= start:
                yield FilmFrame(self._to_photo(frame), pts, float(pts * self.format.time_base))

    def late_notes(self, frames: int) -> Iterator[str]:
        """Yield notes on what was wrong with the film; to be called after all frames have been read, whose number is `frames`."""
        if self.damaged:
            yield f'{self.damaged} damaged packet{"s" if self.damaged > 1 else ""} left out'
        if self.retimed:
            yield f'the times of {self.retimed} frames were not later than those before, and are corrected'
        stated = int(self._stream.frames)
        if stated > frames:
            yield f'the film ends early: {frames} of {stated} frames could be read'

    def _choose_stream(self) -> Any:
        from av.stream import Disposition

        # Music files have their cover as a stream of images.
        films = [stream for stream in self._container.streams.video if not stream.disposition & Disposition.attached_pic]
        if not films:
            raise FRExError(f'{self.path}: no film: {"it holds sound only" if self._container.streams.audio else "it holds no images"}')
        stream = films[0]
        if stream.codec_context is None:
            raise FRExError(f'{self.path}: this PyAV has no decoder for the codec of the film')
        check_pixels(stream.codec_context.width, stream.codec_context.height, self.path)
        stream.thread_type = 'AUTO'
        return stream

    def _decode(self) -> Iterator[Any]:
        """Yield the decoded frames as PyAV's; packets that cannot be decoded are left out and counted in `damaged`.

        Where the file cannot be read any further the frames end, which counts as one more. Raises FRExError at an encrypted packet.
        """
        from av.error import FFmpegError

        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except FFmpegError:
                self.damaged += 1
                return
            if packet.has_sidedata(ENCRYPTED):
                raise FRExError(f'{self.path}: the film is encrypted: FREx reads films without copy protection only')
            try:
                frames = packet.decode()
            except FFmpegError:
                self.damaged += 1
                continue
            yield from frames

    def _describe(self, first: Any) -> FilmFormat:
        stream = self._stream
        size = (first.width, first.height)
        aspect = Fraction(stream.sample_aspect_ratio or 1)
        if self._turns % 2:
            size, aspect = size[::-1], 1 / aspect
        matrix = MATRIX_BT709 if first.colorspace == MATRIX_RGB else first.colorspace
        colours = Colours(first.color_range, first.color_primaries, first.color_trc, matrix)
        rate = Fraction(stream.average_rate or stream.guessed_rate or USUAL_RATE)
        return FilmFormat(*size, stream.time_base, rate, _bits(first) > 8, colours, aspect)

    def _losses(self, first: Any) -> Iterator[str]:
        kind = first.format
        if self._turns:
            yield f'turned upright by {90 * self._turns} degrees to the left: the result needs no display matrix'
        if first.color_trc in HDR_TRANSFERS:
            kept = 'its tags are kept, its mastering data are not, and faces are restored as in ordinary films'
            yield f'HDR ({HDR_TRANSFERS[first.color_trc]}): {kept}'
        if any(component.is_alpha for component in kind.components):
            yield 'alpha is left out'
        if kind.is_rgb or (len(kind.components) > 2 and (kind.chroma_width(64), kind.chroma_height(64)) != (32, 32)):
            yield f'colours of full resolution ({kind.name}) became 4:2:0'
        if first.interlaced_frame:
            yield 'interlaced frames are restored and written as whole frames'
        if len(self._container.streams.video) > 1:
            yield f'the first of {len(self._container.streams.video)} streams of images'
        if self._container.streams.subtitles:
            yield 'subtitles are left out'

    def _to_photo(self, frame: Any) -> Photo:
        pixels: Pixels = frame.to_ndarray(format='bgr48le' if self.format.deep else 'bgr24', interpolation=EXACT_CONVERSION)
        image = np.ascontiguousarray(np.rot90(pixels, self._turns))
        return Photo(image, None, is_colourless(image), Metadata())


def _bits(frame: Any) -> int:
    return max(component.bits for component in frame.format.components)


def _open(path: Path) -> Any:
    import av

    with describe_errors(path, 'cannot be read as a film'):
        return av.open(str(path))


@contextmanager
def describe_errors(path: Path, what: str) -> Iterator[None]:
    """Turn FFmpeg's errors in the block into FRExError: its message is the path, `what` (such as 'cannot be read'), and the reason."""
    from av.error import FFmpegError

    try:
        yield
    except FFmpegError as error:
        raise FRExError(f'{path}: {what} ({one_line(error.strerror or str(error))})') from error

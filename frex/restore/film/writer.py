"""Write films: encode segments, and join them with the sound of the film that they come from, without encoding them again."""

import heapq
import io
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt

from frex.errors import FRExError
from frex.restore.film.formats import EXACT_CONVERSION, Encoder, FilmFormat, choose_pixels
from frex.restore.film.reader import FilmReader, describe_errors
from frex.restore.film.segments import WorkFolder
from frex.restore.image_io.photo_file import Photo
from frex.utils.files import write_atomically

# Segments are kept in NUT, which keeps all times exactly.
SEGMENT_CONTAINER, SEGMENT_SUFFIX = 'nut', '.nut'
# FFmpeg's names of the containers, by the suffix of the result.
CONTAINERS = {'.mp4': 'mp4', '.mov': 'mov', '.mkv': 'matroska'}
# The name under which Apple's players know HEVC whose parameters lie in the header.
HEVC_TAG = 'hvc1'
Pixels = UInt[np.ndarray, 'height width 3']


class FrameEncoder:
    """Encodes frames of a film into an open container, in FFmpeg's pixel format `pixels`.

    Frames of odd width or height are widened by `pad_to_even`. Frames of another size than that of `layout` are stretched to it.
    """

    def __init__(self, container: Any, layout: FilmFormat, encoder: Encoder, pixels: str) -> None:
        self.layout, self.pixels, self._container = layout, pixels, container
        options = {'crf': str(encoder.crf), **encoder.options}
        self._stream = container.add_stream(encoder.name, rate=layout.rate, options=options)
        context = self._stream.codec_context
        context.width, context.height = (size + size % 2 for size in (layout.width, layout.height))
        context.pix_fmt, context.sample_aspect_ratio = pixels, layout.aspect
        context.time_base = self._stream.time_base = layout.time_base
        for name, value in layout.colours._asdict().items():
            setattr(context, name, value)

    def write(self, photo: Photo, pts: int) -> tuple[str, ...]:
        """Encode a frame; return a note where it is stretched.

        `pts` is its time in units of the film's time base, and later than that of the frame before.
        """
        import av

        kind = 'bgr48le' if photo.image.dtype == np.uint16 else 'bgr24'
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pad_to_even(photo.image)), format=kind)
        self._container.mux(self._stream.encode(self._convert(frame, pts)))
        (height, width), layout = photo.image.shape[:2], self.layout
        if (width, height) == (layout.width, layout.height):
            return ()
        return (f'the size of the frames changes: {width} x {height} is stretched to {layout.width} x {layout.height}',)

    def finish(self) -> None:
        """Write what the encoder still holds."""
        self._container.mux(self._stream.encode())

    def _convert(self, frame: Any, pts: int) -> Any:
        colours = self.layout.colours
        converted = frame.reformat(
            format=self.pixels, dst_colorspace=colours.swscale_matrix, dst_color_range=colours.color_range, interpolation=EXACT_CONVERSION
        )
        for name, value in colours._asdict().items():
            setattr(converted, name, value)
        converted.pts, converted.time_base = pts, self.layout.time_base
        return converted


@contextmanager
def write_segment(path: Path, layout: FilmFormat, encoder: Encoder, pixels: str) -> Iterator[FrameEncoder]:
    """Yield the encoder of a segment of a film; its file gets the name `path` when the block ends without an error.

    An existing file is then replaced. Raises FRExError where FFmpeg refuses, also within the block.
    """
    import av

    with (
        write_atomically(path) as part,
        describe_errors(path, 'cannot be written'),
        av.open(str(part), 'w', format=SEGMENT_CONTAINER) as container,
    ):
        frames = FrameEncoder(container, layout, encoder, pixels)
        yield frames
        frames.finish()


def pad_to_even(image: Pixels) -> UInt[np.ndarray, '_ _ 3']:
    """Return an image whose width and height are even; where one is odd, the last column or row is repeated."""
    height, width = image.shape[:2]
    if height % 2 == width % 2 == 0:
        return image
    return cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)


def divide_sound(streams: Sequence[Any], suffix: str) -> tuple[list[Any], list[Any]]:
    """Divide the sound streams of a film into those that a result with this suffix, a key of CONTAINERS, can hold, and the others."""
    held = [stream for stream in streams if can_hold(suffix, stream)]
    return held, [stream for stream in streams if stream not in held]


def codec_name(stream: Any) -> str:
    """Return the name of the codec of a stream; `unknown` where this PyAV has no decoder for it."""
    return 'unknown' if stream.codec_context is None else str(stream.codec_context.name)


def can_hold(suffix: str, stream: Any) -> bool:
    """Return whether the container of a suffix takes the sound of a stream; its header is written to memory to find out."""
    import av
    from av.error import FFmpegError

    if stream.codec_context is None:
        return False
    try:
        with av.open(io.BytesIO(), 'w', format=CONTAINERS[suffix]) as container:
            container.add_stream_from_template(stream, opaque=True)
            container.start_encoding()
    except (FFmpegError, ValueError):
        return False
    return True


def join_segments(
    segments: Sequence[Path], film: Path, sound: Sequence[int], target: Path, time_base: Fraction, metadata: dict[str, str]
) -> None:
    """Write the film `target` from the packets of its segments, one or more in their order, and of sound streams of the file `film`.

    `sound` holds the indices of these streams, `time_base` is the unit of the frames' times in seconds, and `metadata` are those of the
    result. Nothing is encoded again. Where the sound of a damaged film breaks off, that of the result ends. An existing file is replaced
    when the new one is complete. Raises FRExError where FFmpeg refuses.
    """
    import av

    target.parent.mkdir(parents=True, exist_ok=True)
    kind = CONTAINERS[target.suffix]
    options = {'movflags': 'faststart'} if kind in ('mp4', 'mov') else {}
    with (
        write_atomically(target) as part,
        describe_errors(target, 'cannot be written'),
        av.open(str(film)) as source,
        av.open(str(segments[0])) as first,
        av.open(str(part), 'w', format=kind, options=options) as result,
    ):
        result.metadata.update(metadata)
        template = first.streams.video[0]
        stream = result.add_stream_from_template(template, opaque=True)
        stream.time_base = time_base
        if template.codec_context.name == 'hevc' and kind != 'matroska':
            stream.codec_context.codec_tag = HEVC_TAG
        copies = {index: result.add_stream_from_template(source.streams[index], opaque=True) for index in sound}
        for index, copy in copies.items():
            copy.metadata.update(source.streams[index].metadata)
        packets = [_video_packets(segments, stream), _sound_packets(source, copies)]
        for packet in heapq.merge(*packets, key=lambda packet: packet.dts * packet.time_base):
            result.mux(packet)


def _video_packets(segments: Sequence[Path], stream: Any) -> Iterator[Any]:
    import av

    for segment in segments:
        with av.open(str(segment)) as container:
            for packet in container.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    yield packet


def _sound_packets(source: Any, copies: dict[int, Any]) -> Iterator[Any]:
    """Yield the packets of the sound, in their order, up to where a damaged film breaks off."""
    from av.error import FFmpegError

    if not copies:
        return
    packets = source.demux([source.streams[index] for index in copies])
    while True:
        try:
            packet = next(packets)
        except (StopIteration, FFmpegError):
            return
        if packet.dts is not None:
            packet.stream = copies[packet.stream.index]
            yield packet


class FilmOutput:
    """Writes a film to `target`: segment by segment into the folder `work`, which `join` joins with sound streams of the film `source`.

    `layout` is that of the result, and `sound` holds the indices of the streams. Raises FRExError where `target` is a folder.
    """

    def __init__(
        self, target: Path, source: FilmReader, work: WorkFolder, layout: FilmFormat, encoder: Encoder, sound: Sequence[int]
    ) -> None:
        if target.is_dir():
            raise FRExError(f'{target}: a folder is in the way: move it, or give another --output')
        self.target, self.source, self.work, self.layout, self.encoder, self.sound = target, source, work, layout, encoder, sound
        self.pixels = choose_pixels(encoder, layout.deep)

    def segment(self, number: int) -> AbstractContextManager[FrameEncoder]:
        """Return a context that encodes a segment."""
        return write_segment(self.work.path(number, SEGMENT_SUFFIX), self.layout, self.encoder, self.pixels)

    def join(self, segments: int) -> None:
        """Join the segments, of which there are `segments`, to the film; raise FRExError as `join_segments` does."""
        paths = [self.work.path(number, SEGMENT_SUFFIX) for number in range(segments)]
        join_segments(paths, self.source.path, self.sound, self.target, self.layout.time_base, self.source.metadata)

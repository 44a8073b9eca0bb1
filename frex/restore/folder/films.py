"""Restore the films and the folders of frames of a run, one after the other, and make their records for the report."""

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from frex import __version__
from frex.errors import FRExError, one_line
from frex.restore.faces.restorer import FaceRestorer
from frex.restore.faces.upsampler import NetworkUpsampler
from frex.restore.film.formats import Encoder, FilmFormat, can_encode_deep, find_encoder
from frex.restore.film.frame_folder import FrameFolder, FrameFolderOutput
from frex.restore.film.reader import FilmReader
from frex.restore.film.records import FilmRecord
from frex.restore.film.restore_film import FilmOptions, FilmRestorer
from frex.restore.film.segments import Segment, WorkFolder, hash_files
from frex.restore.film.writer import FilmOutput, codec_name, divide_sound
from frex.restore.folder.inputs import Inputs
from frex.restore.folder.journal import Journal
from frex.restore.folder.notes import list_notes
from frex.restore.folder.options import RestoreOptions
from frex.restore.folder.planning import Job
from frex.restore.folder.report import ImageRecord, absolute_name, relative_name
from frex.utils.files import sha256
from frex.utils.signals import Stop

# Settings by which the frames of a result do not change.
WITHOUT_EFFECT = ('input', 'recursive', 'output', 'suffix', 'exist', 'no_face', 'weights', 'model_path', 'frames')
# Flags without a meaning for films, by the names of the options.
# `save_head` comes first, since it sets `save_3d`.
SENSELESS = ('aligned', 'save_head', 'save_3d', 'save_weights_map')


def check_film_flags(options: RestoreOptions, inputs: Inputs) -> None:
    """Raise FRExError where an input is a film or a folder of frames, and a flag has no meaning for these.

    For films it is also raised where `find_encoder` raises it: for a bad `--video_codec` or `--crf`, and where PyAV or the encoder is
    missing.
    """
    if not inputs.films:
        return
    for name in SENSELESS:
        if getattr(options, name):
            raise FRExError(f'--{name} does not go with films, such as {min(inputs.films)}')
    if not options.frames:
        find_encoder(options.video_codec, options.crf)


class OpenFilm(NamedTuple):
    """An open film or folder of frames, its result, the folder of its segments, and its record, which is not complete."""

    source: FilmReader | FrameFolder
    output: FilmOutput | FrameFolderOutput
    work: WorkFolder
    record: FilmRecord


class FilmJobs:
    """Restores the films of a run; `model` is the file of the network, and `ext` the suffix of frames, or `auto`.

    `upsampler` is the network that the options name for backgrounds or faces. Of `journal` the settings alone are used; no record is added
    to it. Where `stop()` is True, a film is stopped before its next few frames.
    """

    def __init__(
        self,
        restorer: FaceRestorer,
        options: RestoreOptions,
        upsampler: NetworkUpsampler | None,
        model: Path,
        ext: str,
        journal: Journal,
        stop: Stop,
    ) -> None:
        self.restorer, self.options, self.model, self.ext, self.journal, self.stop = restorer, options, model, ext, journal, stop
        film_options = FilmOptions(
            upscale=options.upscale,
            fidelity_weight=options.fidelity_weight,
            structure_weight=options.structure_weight,
            selection=options.selection,
            force=options.force,
            tracking=not options.no_tracking,
            bg_upsampler=upsampler if options.has_bg_upsampler else None,
            face_upsampler=upsampler if options.face_upsample else None,
        )
        self.films = FilmRestorer(restorer, film_options, lambda *given: list_notes(restorer, options, *given))

    def restore(self, job: Job) -> ImageRecord:
        """Restore the film or the folder of frames of a job, write the result, and return its record.

        Segments that an earlier run has finished are taken over. An existing result is replaced. A film without a face is written, too,
        unless `no_face` is `skip`. Raises FRExError or OSError where the film cannot be read or its result cannot be written, and
        FilmStoppedError where the run is to stop; the finished segments then remain.
        """
        with self._open(job) as film:
            for note in film.source.notes:
                print(one_line(f'{job.item.path}: {note}'), file=sys.stderr)
            film.record.continued = sum(segment.frames for segment in film.work.finished())
            with tqdm(total=film.source.stated_frames, unit='frame', desc=job.item.path.name, leave=False, disable=None) as bar:
                segments = self.films.restore(film.source, film.output, film.work, self.stop, bar.update)
            return self._finish(job, film, segments)

    @contextmanager
    def _open(self, job: Job) -> Iterator[OpenFilm]:
        path, result = job.item.path, job.results.image
        if path.is_dir():
            folder = FrameFolder(path)
            names = folder.result_names(self.ext)
            work = WorkFolder(result, self._describe_source(folder.paths))
            yield OpenFilm(folder, FrameFolderOutput(result, names, work), work, FilmRecord())
            return
        with FilmReader(path) as film:
            work = WorkFolder(result, self._describe_source([path]))
            encoder = find_encoder(self.options.video_codec, self.options.crf)
            held, left = divide_sound(film.sound, result.suffix)
            film.notes += describe_losses(
                film.format, encoder, self.options.upscale, [codec_name(stream) for stream in left], result.suffix
            )
            if not can_encode_deep(encoder):
                film.format = film.format._replace(deep=False)
            layout = scale_layout(film.format, self.options.upscale)
            record = FilmRecord(rate=round(float(layout.rate), 3), codec=encoder.name, sound=[codec_name(stream) for stream in held])
            yield OpenFilm(film, FilmOutput(result, film, work, layout, encoder, [stream.index for stream in held]), work, record)

    def _describe_source(self, files: Sequence[Path]) -> dict[str, Any]:
        """Return what the frames of a result depend on: the content of the input, the networks and the settings.

        `files` are those of the input: the film, or the images in a folder of frames. Raises FRExError where one cannot be read.
        """
        settings = {name: value for name, value in self.journal.settings.items() if name not in WITHOUT_EFFECT}
        has_parser = self.restorer.parts.parser() is not None
        return {
            'version': __version__,
            'input': hash_files(files),
            'network': sha256(self.model),
            'parser': has_parser,
            'settings': settings,
        }

    def _finish(self, job: Job, film: OpenFilm, segments: Sequence[Segment]) -> ImageRecord:
        """Join the segments to the result, remove their folder, and return the record for the report.

        A film without a face (status `no face`) is joined only with `no_face` `copy`; else the record names no output.
        """
        record = self._record(job, film, segments)
        if record.status == 'restored' or self.options.no_face == 'copy':
            start = time.perf_counter()
            film.output.join(len(segments))
            record.seconds['write'] += time.perf_counter() - start
            record.output = relative_name(job.results.image, job.results.folder)
        film.work.remove()
        return record

    def _record(self, job: Job, film: OpenFilm, segments: Sequence[Segment]) -> ImageRecord:
        described, layout = film.record, film.source.format
        described.frames = sum(segment.frames for segment in segments)
        described.duration = round(segments[-1].last - segments[0].first + float(1 / layout.rate), 3)
        described.cuts = max(0, segments[-1].tracker.scenes - 1)
        ended = [track for segment in segments for track in segment.ended]
        followed = [track.record() for track in segments[-1].tracker.tracks]
        described.tracks = sorted(ended + followed, key=lambda track: track.first)
        return ImageRecord(
            input=absolute_name(job.item.path),
            status='restored' if any(segment.faces for segment in segments) else 'no face',
            width=layout.width,
            height=layout.height,
            seconds={stage: sum(segment.seconds[stage] for segment in segments) for stage in segments[0].seconds},
            notes=[*film.source.notes, *film.source.late_notes(described.frames), *collect_notes(segments)],
            film=described,
        )


def scale_layout(layout: FilmFormat, upscale: float) -> FilmFormat:
    """Return the layout of a result that is `upscale` times as wide and as high, rounded, and at least 1 x 1."""
    return layout._replace(width=max(1, round(layout.width * upscale)), height=max(1, round(layout.height * upscale)))


def describe_losses(layout: FilmFormat, encoder: Encoder, upscale: float, sound: Sequence[str], suffix: str) -> list[str]:
    """Return notes on what a result does not keep of a film's depth, size and sound.

    `sound` holds the names of the codecs of the streams that are left out, because a file with this suffix cannot hold them.
    """
    notes, scaled = [], scale_layout(layout, upscale)
    if layout.deep and not can_encode_deep(encoder):
        notes.append(f'more than 8 bits became 8: {encoder.name} writes no more here')
    if scaled.width % 2 or scaled.height % 2:
        even = scaled.width + scaled.width % 2, scaled.height + scaled.height % 2
        notes.append(f'{scaled.width} x {scaled.height} became {even[0]} x {even[1]}: 4:2:0 needs even sizes, and the edge is repeated')
    if sound:
        way_out = '' if suffix == '.mkv' else '; --ext mkv keeps it'
        notes.append(f'sound ({", ".join(sound)}) is left out: {suffix} cannot hold it{way_out}')
    return notes


def collect_notes(segments: Iterable[Segment]) -> list[str]:
    """Return the first note of each kind, and notes on faces that the network could not restore in single frames."""
    notes: dict[str, str] = {}
    failures: Counter[str] = Counter()
    for segment in segments:
        notes = segment.notes | notes
        failures += Counter(segment.failures)
    return [*notes.values(), *(f'{number} times a face was left as it is in a frame: {reason}' for reason, number in failures.items())]

"""Restore images, one or a million: `frex restore`. A file that fails never stops the others, and each is accounted for in the report."""

import errno
import os
import sys
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch

from frex.device import choose_device
from frex.errors import FRExError, one_line
from frex.heads.codes import trained_prior
from frex.restore.faces.restorer import FaceRestorer
from frex.restore.faces.upsampler import FOR_FACES, NetworkUpsampler, load_upsampler
from frex.restore.film.restore_film import FilmStoppedError
from frex.restore.folder.claims import Claims
from frex.restore.folder.distributed import InputChannel, SharedInputs
from frex.restore.folder.films import FilmJobs, check_film_flags
from frex.restore.folder.inputs import Input, Inputs, find_frame_folders, find_inputs
from frex.restore.folder.journal import Journal
from frex.restore.folder.options import RestoreOptions
from frex.restore.folder.outputs import Outputs
from frex.restore.folder.planning import Job, Plan
from frex.restore.folder.recovery import recover_killed_runs
from frex.restore.folder.report import REPORT, ImageRecord, Run, absolute_name, is_complete, make_failure_record, to_text
from frex.restore.folder.report_index import read_report
from frex.restore.folder.stages import AlignedFaces, Photographs, RestoreStages
from frex.restore.folder.summary import MOST_LISTED, summarize_run
from frex.restore.folder.threaded_pipeline import ThreadedPipeline
from frex.restore.image_io.headers import NOT_AN_IMAGE
from frex.utils.sharding import Shard, choose_local_device, choose_shard
from frex.utils.signals import Stop, stop_on_signals
from frex.utils.text import abbreviate
from frex.weights.small_model import find_model, small_model_notice
from frex_arch import FREx
from frex_arch.fusion import AdaptiveWeighting

# Default number of faces that are restored at a time. On a CPU more of them take memory and save no time.
BATCH_ON_GPU, BATCH_ON_CPU = 8, 2
# Errors after which every further write would fail as well: the disk is full, the quota is used up, or the disk is read-only.
FATAL_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def restore_folder(options: RestoreOptions, restorer: FaceRestorer | None = None) -> int:
    """Restore the images and films that `options.input` names, write results and report to `options.output`, and return the exit status.

    It is 0 where all went well, 1 where an image failed or nothing more could be written, and 130 or 143 where a signal stopped the run. Of
    several processes under torchrun only the last to finish prints the summary and returns 1 for failed images: torchrun ends all
    processes when one of them fails. `restorer` is what `load_restorer` returns for these options, where the caller has it already.

    An image that fails raises nothing. Raises FRExError for bad options, a missing input, an output folder that cannot be written, a
    damaged report, and a network that cannot be loaded; where possible, before a network is loaded.
    """
    shard = choose_shard('0/1', os.environ)
    outputs = Outputs(options.output, options.suffix, options.ext, options.exist)
    run, inputs = collect_inputs(options, outputs, shard)
    check_film_flags(options, inputs)
    log_rank0(shard, *describe_passed_over(inputs.passed_over), *flag_notes(options))
    model = find_model(options.model_path)
    restorer = restorer or load_restorer(options, model)
    if options.save_head:
        trained_prior(restorer.net)
    upsampler = load_run_upsampler(options, restorer)
    log_rank0(
        shard, *([small_model_notice(restorer.size)] if options.model_path is None else []), *unsupported_flags(options, restorer.net)
    )
    settings = collect_settings(options, model)
    numbers = shard.of(len(inputs))
    passed_over = {absolute_name(path): reason for path, reason in inputs.passed_over}
    with stop_on_signals() as stop, Journal(options.output, shard, run, settings, len(numbers), passed_over) as journal:
        for record in unreadable_records(inputs) if shard.index == 0 else ():
            journal.add(record)
        stages: RestoreStages[Any] = (AlignedFaces if options.aligned else Photographs)(restorer, options, upsampler)
        plan = Plan(outputs, Claims(journal), options.aligned, inputs)
        restore_images(stages, plan_jobs(plan, select_items(inputs, numbers, films=False), journal), journal, stop)
        if inputs.films:
            films = FilmJobs(restorer, options, upsampler, model, outputs.ext, journal, stop)
            restore_films(films, plan_jobs(plan, select_items(inputs, numbers, films=True), journal), journal, stop)
        recover_killed_runs(outputs.folder, outputs.folders, journal.process_id)
        report = journal.merge_into_report(finished=not stop())
    summary = summarize_run(report.runs[run], report.records(run))
    return finish(report.runs[run], summary, shard, stop, options.output)


def collect_inputs(options: RestoreOptions, outputs: Outputs, shard: Shard) -> SharedInputs:
    """Return the input images, and an id for the run; both are the same in all processes of the run.

    The first process finds the images, checks that results can be written, and cleans up after runs that were killed. The others wait
    for it. Raises FRExError, in all of them, where an input is missing, the output folder cannot be written, or its report is damaged.
    """
    channel = InputChannel(shard)
    if shard.index > 0:
        return channel.receive()
    try:
        inputs = (
            find_frame_folders(options.input) if options.frames else find_inputs(options.input, options.recursive, excluded=outputs.folders)
        )
        check_writable(outputs)
        recover_killed_runs(outputs.folder, outputs.folders)
    except FRExError as error:
        channel.send_error(error)
        raise
    shared = SharedInputs(uuid4().hex[:12], inputs)
    channel.send(shared)
    return shared


def select_items(inputs: Inputs, numbers: Iterable[int], films: bool) -> Iterator[Input]:
    """Yield the inputs with these numbers that are films, or those that are not."""
    return (item for item in map(inputs.__getitem__, numbers) if item.film == films)


def plan_jobs(plan: Plan, items: Iterable[Input], journal: Journal) -> Iterator[Job]:
    """Yield a job for each of the `items` that is restored, and add the records of the others to the journal."""
    for item in items:
        planned = plan.decide(item)
        if isinstance(planned, Job):
            yield planned
        else:
            journal.add(planned)


def restore_images(stages: RestoreStages[Any], jobs: Iterator[Job], journal: Journal, stop: Stop) -> None:
    """Restore the images of `jobs`, and add their records to the journal; where the run is stopped, unfinished images have no record."""
    for job, outcome in ThreadedPipeline(stages, stages.restorer.batches.batch_size).run(jobs, stop):
        if isinstance(outcome, ImageRecord):
            journal.add(outcome)
        else:
            record_failure(job, outcome, journal, stop)


def restore_films(films: FilmJobs, jobs: Iterator[Job], journal: Journal, stop: Stop) -> None:
    """Restore the films of `jobs`, one after the other, and add their records to the journal; a film that is stopped has no record."""
    for job in jobs:
        try:
            record = films.restore(job)
        except FilmStoppedError:
            pass
        # As for images, one that fails never stops the others.
        except Exception as error:
            record_failure(job, error, journal, stop)
        else:
            journal.add(record)
        if stop():
            return


def record_failure(job: Job, error: Exception, journal: Journal, stop: Stop) -> None:
    """Add the record of a job that failed to the journal; stop where every further write would fail as well."""
    journal.add(make_failure_record(job.item.path, error))
    number = find_fatal_errno(error)
    if number is not None:
        stop.request(1, f'nothing more can be written ({errno.errorcode[number]}); afterwards the same command goes on from here')


def find_fatal_errno(error: BaseException | None) -> int | None:
    """Return the errno of the FATAL_ERRORS that caused `error`, directly or not; None where none of them did."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FATAL_ERRORS:
            return error.errno
        error = error.__cause__ or error.__context__
    return None


def unreadable_records(inputs: Inputs) -> Iterator[ImageRecord]:
    """Yield a failure record for each input folder that cannot be listed, because its images are missing from the run."""
    for folder, reason in inputs.unreadable:
        yield ImageRecord(input=absolute_name(folder), status='failed', reason=reason)


def check_writable(outputs: Outputs) -> None:
    """Raise FRExError where results cannot be written or the report is damaged, before the network is loaded."""
    folder = outputs.folder
    try:
        # The folder itself is created with its first result, so its nearest existing parent is tried.
        with tempfile.TemporaryFile(dir=next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())):
            pass
    except OSError as error:
        raise FRExError(f'--output: cannot write to {folder} ({error.strerror or error})') from None
    for path in outputs.folders:
        if path.exists() and not path.is_dir():
            raise FRExError(f'--output: {path} is in the way: a folder of that name is needed')
    deque(read_report(folder)[1], maxlen=0)


def describe_passed_over(files: Sequence[tuple[Path, str]]) -> Iterator[str]:
    """Yield lines on the files in the input folders that were not taken for images.

    There is a line for each of a known kind, up to MOST_LISTED, and one for all others.
    """
    others = [path.name for path, reason in files if reason == NOT_AN_IMAGE]
    known = [f'passed over: {path}: {reason}' for path, reason in files if reason != NOT_AN_IMAGE]
    yield from map(one_line, known[:MOST_LISTED])
    if len(known) > MOST_LISTED:
        yield f'passed over: {len(known) - MOST_LISTED} more, see the report'
    if others:
        yield one_line(f'{len(others)} file{"s" * (len(others) > 1)} passed over: no images by their suffix: {abbreviate(others)}')


def flag_notes(options: RestoreOptions) -> Iterator[str]:
    """Yield notes on flags without effect."""
    if options.aligned and options.upscale != 1:
        yield "--upscale does nothing with --aligned: faces come at the network's size"
    if options.aligned and options.force:
        yield '--force does nothing with --aligned: all faces are restored'
    if options.aligned and (options.has_bg_upsampler or options.face_upsample):
        yield "--bg_upsampler and --face_upsample do nothing with --aligned: faces come at the network's size"


def unsupported_flags(options: RestoreOptions, net: FREx) -> Iterator[str]:
    """Yield a note for each flag that asks for a part which `net`, an ablated network, does not have."""
    if options.save_3d and net.eg3d is None:
        yield '--save_3d writes nothing: this network has no 3D prior'
    if options.save_weights_map and not any(isinstance(fusion.weighting, AdaptiveWeighting) for fusion in net.fusion.values()):
        yield '--save_weights_map writes nothing: this network has no AWB'


def log_rank0(shard: Shard, *lines: str) -> None:
    """Print lines on standard error, in the first process of a run only."""
    for line in lines if shard.index == 0 else ():
        print(line, file=sys.stderr)


def load_restorer(options: RestoreOptions, model: Path) -> FaceRestorer:
    """Load the network from the file `model`, and the other networks that the run needs: detector, face parser and ArcFace.

    For aligned inputs it is ArcFace alone. The files of the detector and the parser are downloaded where they are missing. The run goes on
    without a parser that cannot be downloaded, and without an ArcFace that is missing. Raises FRExError where `model` or the detector
    cannot be had, for a damaged file that cannot be downloaded anew, and for a bad device, precision or batch size.
    """
    device = choose_device(choose_local_device(options.device, os.environ, torch.cuda.device_count()))
    batch_size = options.batch_size or (BATCH_ON_CPU if device.type == 'cpu' else BATCH_ON_GPU)
    restorer = FaceRestorer.from_pretrained(
        model,
        str(device),
        options.param_key,
        options.precision,
        batch_size,
        options.weights,
        options.detection_model,
        detection_size=options.detection_size,
    )
    restorer.parts.identity()
    if not options.aligned:
        restorer.parts.detector()
        restorer.parts.parser()
    return restorer


def load_run_upsampler(options: RestoreOptions, restorer: FaceRestorer) -> NetworkUpsampler | None:
    """Load the network that enlarges backgrounds or faces: that of `bg_upsampler` for both, or FOR_FACES for faces alone.

    Returns None where neither is asked for, and for aligned faces. Raises FRExError as `load_upsampler` does.
    """
    if options.aligned or not (options.has_bg_upsampler or options.face_upsample):
        return None
    name = options.bg_upsampler if options.has_bg_upsampler else FOR_FACES
    return load_upsampler(name, options.weights, restorer.batches.device, options.precision, options.bg_tile)


def collect_settings(options: RestoreOptions, model: Path) -> dict[str, Any]:
    """Return the options as the report stores them, in JSON types, with the absolute path of the network's file as `model_path`."""
    values = {field.name: getattr(options, field.name) for field in fields(options)}
    # A relative path would name another file when the command runs in another folder.
    return {name: _to_json(value) for name, value in sorted((values | {'model_path': absolute_name(model)}).items())}


def _to_json(value: Any) -> Any:
    if isinstance(value, tuple):
        return [to_text(str(item)) for item in value]
    return to_text(str(value)) if isinstance(value, str | Path) else value


def finish(run: Run, summary: Sequence[str], shard: Shard, stop: Stop, folder: Path) -> int:
    """Print the summary where all processes have finished, and return the exit status of this process; see `restore_folder`."""
    if not (is_complete(run) or (stop() and shard.index == 0)):
        return stop.status
    for line in summary:
        print(line)
    print(f'results in {folder}, details in {folder / REPORT}')
    if stop():
        print(f'stopped before the end: {stop.reason}', file=sys.stderr)
    return stop.status or int(run.images['failed'] > 0)

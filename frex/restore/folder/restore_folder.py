"""Restoring images, one or a million: one bad file never stops the rest, and none is passed over in silence."""

import os
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from frex.device import choose_device
from frex.errors import FRExError
from frex.restore.detection.selection import Selection
from frex.restore.faces.restore_options import RestoreOptions
from frex.restore.faces.restorer import FaceRestorer
from frex.restore.folder.aligned_faces import AlignedFaces
from frex.restore.folder.distributed import agree
from frex.restore.folder.inputs import Inputs, find_inputs
from frex.restore.folder.jobs import RestoreJobs
from frex.restore.folder.journal import Journal, recover_crashed_runs, report_of_all
from frex.restore.folder.outputs import Outputs
from frex.restore.folder.photographs import Photographs
from frex.restore.folder.planning import Plan, PreviousResults
from frex.restore.folder.report import REPORT, PictureRecord, Run, absolute, as_text, is_complete, read_report
from frex.restore.folder.summary import summary
from frex.restore.folder.threaded_pipeline import ThreadedPipeline
from frex.utils.sharding import Shard, choose_shard, local_device
from frex.utils.signals import Stop, stop_on_signals
from frex.weights.small_model import notice, require_small_model
from frex_arch import FREx
from frex_arch.fusion import AdaptiveWeighting

# Faces at once; on a CPU more take memory and save no time.
BATCH_ON_GPU, BATCH_ON_CPU = 8, 2


def restore_folder(args: Namespace) -> int:
    """Restore what the flags of `frex restore` name; 1 where an image failed, 130 or 143 where a signal stopped it, else 0.

    Of several processes the last to finish tells how it went, in its status too: torchrun ends all when one fails.
    """
    share = choose_shard('0/1', os.environ)
    outputs = Outputs(args.output, args.suffix, args.ext, args.exist)
    run, found = agree(share, lambda: collect_inputs(args, outputs))
    outputs.word = f'{run}-{share.index}'
    log_rank0(share, *flag_notes(args, found.others))
    model = require_small_model() if args.model_path is None else args.model_path
    restorer = load_restorer(args, model)
    log_rank0(share, *([notice(restorer.size)] if args.model_path is None else []), *unsupported_flags(args, restorer.net))
    settings = settings_of(args, model)
    plan = Plan(outputs, PreviousResults(report_of_all(args.output), settings), args.aligned, found)
    items = [found[number] for number in share.of(len(found))]
    with stop_on_signals() as stop, Journal(args.output, share, run, settings, len(items)) as journal:
        for record in unreadable(found) if share.index == 0 else ():
            journal.add(record)
        tasks: RestoreJobs[Any] = (AlignedFaces if args.aligned else Photographs)(restorer, journal, wishes_of(args), stop)
        try:
            ThreadedPipeline(tasks, restorer.batches.most).run(plan.jobs(items, journal.add), stop)
        finally:
            outputs.close()
        report = journal.merge_into_report(finished=not stop())
    return finish(report.runs[run], summary(report, run), share, stop, args.output)


def collect_inputs(args: Namespace, outputs: Outputs) -> Inputs:
    """The images, where results can be written; what killed runs left is cleared up."""
    found = find_inputs(args.input, args.recursive, leave_out=outputs.folders)
    check_writable(outputs)
    recover_crashed_runs(outputs.folder, outputs.folders)
    return found


def unreadable(found: Inputs) -> Iterator[PictureRecord]:
    """A record for each folder that cannot be listed: what is in it is missing."""
    for folder, reason in found.unreadable:
        yield PictureRecord(input=absolute(folder), status='failed', reason=reason)


def check_writable(outputs: Outputs) -> None:
    """Raise FRExError where results could not be written, before the network is loaded."""
    folder = outputs.folder
    try:
        # The folder itself is made with its first result.
        with tempfile.TemporaryFile(dir=next(place for place in (folder, *folder.absolute().parents) if place.exists())):
            pass
    except OSError as error:
        raise FRExError(f'--output: cannot write to {folder} ({error.strerror or error})') from None
    for path in outputs.folders:
        if path.exists() and not path.is_dir():
            raise FRExError(f'--output: {path} is in the way: a folder of that name is needed')
    read_report(folder)


def flag_notes(args: Namespace, others: int) -> Iterator[str]:
    """What the user might not expect."""
    if others:
        yield f'{others} file{"s" * (others > 1)} passed over: no images by their suffix'
    if args.aligned and args.upscale != 1:
        yield "--upscale does nothing with --aligned: faces come at the network's size"
    if args.aligned and args.force:
        yield '--force does nothing with --aligned: all faces are restored'


def unsupported_flags(args: Namespace, net: FREx) -> Iterator[str]:
    """Flags that ask for what the network, one of table 2's, does not have."""
    if args.save_3d and net.eg3d is None:
        yield '--save_3d writes nothing: this network has no 3D prior'
    if args.save_weights_map and not any(isinstance(fusion.weighting, AdaptiveWeighting) for fusion in net.fusion.values()):
        yield '--save_weights_map writes nothing: this network has no AWB'


def log_rank0(share: Shard, *lines: str) -> None:
    """Lines on standard error, once for all processes."""
    for line in lines if share.index == 0 else ():
        print(line, file=sys.stderr)


def load_restorer(args: Namespace, model: Path) -> FaceRestorer:
    """Raises FRExError where `model`, the network's file, or another that will be needed is missing or damaged."""
    device = choose_device(local_device(args.device, os.environ, torch.cuda.device_count()))
    most = args.batch_size or (BATCH_ON_CPU if device.type == 'cpu' else BATCH_ON_GPU)
    restorer = FaceRestorer.from_pretrained(model, str(device), args.param_key, args.precision, most, args.weights, args.detection_model)
    restorer.parts.identity()
    if not args.aligned:
        restorer.parts.detector()
        restorer.parts.parser()
    return restorer


def wishes_of(args: Namespace) -> RestoreOptions:
    """The flags that say what is done with each image."""
    return RestoreOptions(
        fidelity_weight=args.fidelity_weight,
        structure_weight=args.structure_weight,
        upscale=args.upscale,
        no_face=args.no_face,
        save_3d=args.save_3d,
        save_weights_map=args.save_weights_map,
        force=args.force,
        selection=Selection(args.det_threshold, args.min_face, 'center' if args.only_center_face else 'all'),
    )


def settings_of(args: Namespace, model: Path) -> dict[str, Any]:
    """The flags, for the report, with the file of the network."""
    shown = {name: value for name, value in vars(args).items() if isinstance(value, str | int | float | list | Path | None)}
    # Its own name would be another file's in another folder.
    return {name: _as_json(value) for name, value in sorted((shown | {'model_path': absolute(model)}).items())}


def _as_json(value: Any) -> Any:
    if isinstance(value, list):
        return [as_text(str(item)) for item in value]
    return as_text(str(value)) if isinstance(value, str | Path) else value


def finish(run: Run, lines: Sequence[str], share: Shard, stop: Stop, folder: Path) -> int:
    """Print the table where all is done, and the exit status."""
    if not (is_complete(run) or (stop() and share.index == 0)):
        return stop.status
    for line in lines:
        print(line)
    print(f'results in {folder}, details in {folder / REPORT}')
    if stop():
        print(f'stopped before the end: {stop.reason}', file=sys.stderr)
    return stop.status or int(run.pictures['failed'] > 0)

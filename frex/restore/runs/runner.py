"""Restoring pictures, one or a million: one bad file never stops the rest, and none is passed over in silence."""

import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from frex.device import choose_device
from frex.errors import FRExError
from frex.restore.faces.restorer import FaceRestorer
from frex.restore.finding.selection import Selection
from frex.restore.runs.aligned_faces import AlignedFaces
from frex.restore.runs.inputs import Input, find_inputs
from frex.restore.runs.journal import Journal
from frex.restore.runs.outputs import Outputs
from frex.restore.runs.photographs import Photographs
from frex.restore.runs.report import REPORT, PictureRecord, Report, absolute, is_complete, read_report
from frex.restore.runs.shards import Shard
from frex.restore.runs.stages import Overlap
from frex.restore.runs.stopping import Stop, stopped_by_signals
from frex.restore.runs.summary import summary
from frex.restore.runs.tasks import Job, Tasks, Wishes, failure

# Faces at once; on a CPU more take memory and save no time.
BATCH_ON_GPU, BATCH_ON_CPU = 8, 2


def restore_folder(args: Namespace) -> int:
    """Restore what the flags of `frex restore` name; 1 where a picture failed, 130 or 143 where a signal stopped it, else 0.

    Of several processes the last to finish tells how it went, in its status too: torchrun ends all when one fails.
    """
    shard = Shard.of_environment()
    outputs = Outputs(args.output, args.suffix, args.ext, args.exist)
    found = find_inputs(args.input, args.recursive, leave_out=outputs.folders)
    check_writable(outputs)
    say(shard, *remarks(args, found.others))
    restorer = load_restorer(args, shard)
    items = shard.share(found)
    with stopped_by_signals() as stop, Journal(args.output, shard, settings_of(args), len(items)) as journal:
        tasks: Tasks[Any] = (AlignedFaces if args.aligned else Photographs)(restorer, journal, wishes_of(args), stop)
        try:
            Overlap(tasks, restorer.batches.most).run(planned(items, outputs, journal, args.aligned), stop)
        finally:
            outputs.close()
        report = journal.write(finished=not stop())
    return conclude(report, shard, stop, args.output)


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


def remarks(args: Namespace, others: int) -> Iterator[str]:
    """What the user might not expect."""
    if others:
        yield f'{others} file{"s" * (others > 1)} passed over: no pictures by their suffix'
    if args.aligned and args.upscale != 1:
        yield "--upscale does nothing with --aligned: faces come at the network's size"


def say(shard: Shard, *lines: str) -> None:
    """Lines on standard error, once for all processes."""
    for line in lines if shard.rank == 0 else ():
        print(line, file=sys.stderr)


def load_restorer(args: Namespace, shard: Shard) -> FaceRestorer:
    """Raises FRExError where a file that will be needed is missing or damaged."""
    device = choose_device(shard.device(args.device))
    most = args.batch_size or (BATCH_ON_CPU if device.type == 'cpu' else BATCH_ON_GPU)
    restorer = FaceRestorer.from_pretrained(
        args.model_path, str(device), args.param_key, args.precision, most, args.weights, args.detection_model
    )
    restorer.parts.identity()
    if not args.aligned:
        restorer.parts.detector()
        restorer.parts.parser()
    return restorer


def wishes_of(args: Namespace) -> Wishes:
    """The flags that say what is done with each picture."""
    return Wishes(
        fidelity_weight=args.fidelity_weight,
        structure_weight=args.structure_weight,
        upscale=args.upscale,
        no_face=args.no_face,
        save_3d=args.save_3d,
        save_weights_map=args.save_weights_map,
        selection=Selection(args.det_threshold, args.min_face, 'center' if args.only_center_face else 'all'),
    )


def settings_of(args: Namespace) -> dict[str, Any]:
    """The flags, for the report."""
    shown = {name: value for name, value in vars(args).items() if isinstance(value, str | int | float | list | Path | None)}
    return {name: str(value) if isinstance(value, Path) else value for name, value in sorted(shown.items())}


def planned(items: Sequence[Input], outputs: Outputs, journal: Journal, aligned: bool) -> Iterator[Job]:
    """The pictures that are to be restored; what is skipped goes to the journal."""
    for item in items:
        try:
            results = outputs.plan(item, aligned)
        except FRExError as error:
            journal.add(failure(item, error))
            continue
        if results is None:
            journal.add(PictureRecord(input=absolute(item.path), status='skipped'))
        else:
            yield Job(item, results)


def conclude(report: Report, shard: Shard, stop: Stop, folder: Path) -> int:
    """Print the table where all is done, and the exit status."""
    run = report.runs[shard.run]
    if not (is_complete(run) or (stop() and shard.rank == 0)):
        return stop.status
    for line in summary(report, shard.run):
        print(line)
    print(f'results in {folder}, details in {folder / REPORT}')
    if stop():
        print(f'stopped before the end: {stop.reason}', file=sys.stderr)
    return stop.status or int(run.pictures['failed'] > 0)

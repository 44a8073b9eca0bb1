"""`frex ablate`: train configurations or take trained checkpoints, restore the test images, evaluate, and write one table."""

import dataclasses
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch

from frex.ablation import caveats
from frex.ablation.caveats import AblationSetup
from frex.ablation.configurations import short_digest
from frex.ablation.plan import Plan, make_plan
from frex.ablation.test_images import OPTIONS, TestFolders, check_folder_is_ours, prepare_folders
from frex.ablation.training import Training
from frex.device import choose_device
from frex.errors import FRExError
from frex.evaluation import Evaluation, Settings, evaluate, to_csv, to_json, to_markdown
from frex.evaluation.evaluator import PAPER_METRICS
from frex.evaluation.inputs import find_common_names, list_image_folder, match_first_faces
from frex.evaluation.scoring import ComputeOptions, Scorer
from frex.evaluation.yaw_bins import read_absolute_yaw
from frex.metrics.catalogue import METRICS
from frex.metrics.feature_statistics import FeatureStatistics
from frex.peers.compare import compare
from frex.peers.face_folder import FaceFolder
from frex.peers.methods import NetworkMethod
from frex.utils.files import write_atomically

FREX_TRAIN = (sys.executable, '-m', 'frex', 'train')

# Row of the table -> name and checkpoint of each of its runs.
Runs = dict[str, list[tuple[str, Path]]]


@dataclass(frozen=True)
class AblateOptions:
    """What to train, to restore and to compare.

    `configurations` are names or option files, empty for the paper's six; they are laid over the option file `base`, together with the
    changes `force_yml`. Each is trained once with each of `seeds` by `train_command` (None: `frex train`). `take` holds NAME=CHECKPOINT for
    configurations that are trained already. `gt` and `lq` are folders of clean and of degraded faces; where `lq` is None, the clean faces
    are degraded with `degrade_seed`. `cameras`, `metrics`, `fid_statistics`, `weights` and `num_workers` are those of the evaluation.
    """

    gt: Path
    output: Path
    base: str = 'options/train_frex.yml'
    configurations: Sequence[str] = ()
    seeds: Sequence[int] = (0, 1, 2)
    take: Sequence[str] = ()
    force_yml: Sequence[str] = ()
    train_command: str | None = None
    lq: Path | None = None
    degrade_seed: int = 0
    cameras: Path | None = None
    metrics: Sequence[str] = PAPER_METRICS
    fid_statistics: Path | None = None
    weights: Path | None = None
    num_workers: int = 4
    device: str = 'auto'


def ablate(options: AblateOptions) -> None:
    """Write `table.md`, `table.csv` and `table.json` in the output folder; checkpoints and restored images that exist are reused.

    Raises FRExError for invalid options or input, and where a training fails or a face is not restored.
    """
    if len(set(options.seeds)) < len(options.seeds):
        raise FRExError(f'--seeds {" ".join(map(str, options.seeds))}: one is given twice')
    settings = Settings(
        metrics=tuple(options.metrics),
        fid_statistics=options.fid_statistics,
        weights=options.weights,
        device=options.device,
        num_workers=options.num_workers,
    )
    try:
        check_folder_is_ours(options.output)
        plan = make_plan(options.configurations, options.take, options.base, options.force_yml, options.output / OPTIONS)
        size = plan.output_size()
        check_inputs(options.gt, options.lq, options.cameras, settings)
        folders = prepare_folders(options.gt, options.lq, options.degrade_seed, size, options.output, options.num_workers)
        restored = restore_test_images(collect_checkpoints(plan, options), folders, options.output / 'restored', options.device)
        evaluation = evaluate(restored, folders.gt, folders.lq, options.cameras, settings)
        print(write_tables(evaluation, describe_setup(plan, size, options), options.output), end='')
    except OSError as error:
        raise FRExError(f'a file cannot be read or written: {error}') from None


def collect_checkpoints(plan: Plan, options: AblateOptions) -> Runs:
    """Return the checkpoints of each row, each with a name for its run; train those that are missing.

    All configurations are trained with one seed before the next seed begins.
    """
    command = FREX_TRAIN if options.train_command is None else shlex.split(options.train_command)
    training = Training(command, options.force_yml, options.output / 'logs')
    runs: Runs = {each.name: [] for each in plan.trained}
    todo = [(each, seed) for seed in options.seeds for each in plan.trained]
    for number, (each, seed) in enumerate(todo, 1):
        print(f'{number} of {len(todo)}: {each.name}, seed {seed}', file=sys.stderr, flush=True)
        runs[each.name].append((f'{each.name}_seed{seed}', training.find_or_train(each, seed)))
    taken = {name: [(f'{name}_taken{number}', path) for number, path in enumerate(paths)] for name, paths in plan.taken.items()}
    return runs | taken


def restore_test_images(runs: Runs, folders: TestFolders, folder: Path, device: str) -> dict[str, list[Path]]:
    """Restore the degraded images with each checkpoint, below `folder`; return the folders of results of each row, one per run.

    Raises FRExError where a face is not restored.
    """
    methods = {row: [_make_method(name, path, device) for name, path in named] for row, named in runs.items()}
    entries = compare(FaceFolder.open(folders.lq, '--lq'), chain.from_iterable(methods.values()), folder, device)
    if not all(entry.is_complete for entry in entries.values()):
        raise FRExError(f'{folder}: not all faces are restored, as reported above; nothing is evaluated')
    return {row: [folder / method.name / 'images' for method in each] for row, each in methods.items()}


def _make_method(name: str, checkpoint: Path, device: str) -> NetworkMethod:
    """Return a checkpoint as a method of `frex peers`, whose name contains a checksum: other checkpoints get other folders."""
    method = NetworkMethod(name, 'frex', checkpoint)
    return dataclasses.replace(method, name=f'{name}_{short_digest([method.settings(), device])}')


def describe_setup(plan: Plan, size: int, options: AblateOptions) -> AblationSetup:
    """Return how the table was made, from which its caveats follow; `size` is the width of the networks' images in pixels."""
    return AblationSetup(
        config=plan.trained[0].config if plan.trained else None,
        size=size,
        seeds=options.seeds,
        taken=tuple(plan.taken),
        left_out=plan.left_out,
        gt=options.gt,
    )


def write_tables(evaluation: Evaluation, setup: AblationSetup, folder: Path) -> str:
    """Write the table as Markdown with its caveats, as CSV and as JSON; return the Markdown."""
    markdown = f'{to_markdown(evaluation)}\n{caveats.to_markdown(evaluation, setup)}'
    texts: Mapping[str, str] = {'table.md': markdown, 'table.csv': to_csv(evaluation), 'table.json': to_json(evaluation)}
    for name, text in texts.items():
        with write_atomically(folder / name) as part:
            part.write_text(text, encoding='utf-8')
    return markdown


def check_inputs(gt: Path, lq: Path | None, cameras: Path | None, settings: Settings) -> None:
    """Raise FRExError for input that `evaluate` would refuse, before anything is trained.

    That is: faces that are in only one of `gt` and `lq`, faces without a label in `cameras`, and statistics, weights or a device that
    cannot be used.
    """
    choose_device(settings.device, needs_float64=True)
    clean = list_image_folder('--gt', gt)
    if lq is not None:
        _, differences = find_common_names(clean, [match_first_faces(clean, list_image_folder('--lq', lq))], partial=True)
        if differences:
            raise FRExError(f'{differences[0]}; both folders must hold the same faces')
    if cameras is not None:
        read_absolute_yaw(cameras, sorted(clean.files))
    _check_metrics(settings)


def _check_metrics(settings: Settings) -> None:
    """Load all metrics once, on the CPU, since the GPU is needed for training; raise FRExError for damaged files."""
    if settings.fid_statistics is not None:
        FeatureStatistics.load(settings.fid_statistics)
    usable = [METRICS[key] for key in settings.metrics if METRICS[key].missing(settings.weights) is None]
    Scorer(
        usable, ComputeOptions(settings.weights, torch.device('cpu'), settings.batch_size, settings.num_workers), settings.fid_statistics
    )

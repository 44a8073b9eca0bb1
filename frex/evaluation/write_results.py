"""`frex evaluate`: an evaluation printed and written."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from frex.errors import FRExError
from frex.evaluation.best_and_worst import draw_cases
from frex.evaluation.evaluator import Settings, evaluate
from frex.evaluation.markdown import to_markdown
from frex.evaluation.plots import draw_plots
from frex.evaluation.results import Evaluation
from frex.evaluation.serialize import to_csv, to_json
from frex.utils.extras import need_matplotlib
from frex.utils.files import refuse_existing, replacing

TEXTS: dict[str, Callable[[Evaluation], str]] = {'json': to_json, 'csv': to_csv, 'markdown': to_markdown}


@dataclass(frozen=True)
class EvaluateOptions:
    """What to compare, as `evaluate` takes it, and the files and the folder of plots to write; `restored` holds NAME=FOLDER."""

    restored: Sequence[str]
    gt: Path
    lq: Path | None = None
    cameras: Path | None = None
    json: Path | None = None
    csv: Path | None = None
    markdown: Path | None = None
    plots: Path | None = None
    overwrite: bool = False


def write_evaluation(options: EvaluateOptions, settings: Settings) -> None:
    """Evaluate, print the tables, write what is asked for; raises FRExError for what is there already before anything is calculated."""
    texts: dict[str, Path] = {kind: getattr(options, kind) for kind in TEXTS if getattr(options, kind) is not None}
    _refuse_one_for_two(texts)
    for path in texts.values():
        refuse_existing(path, options.overwrite)
    if options.plots is not None:
        need_matplotlib('--plots')
        _refuse_filled(options.plots, options.overwrite)
    try:
        evaluation = evaluate(read_methods(options.restored), options.gt, options.lq, options.cameras, settings)
        for kind, path in texts.items():
            with replacing(path) as part:
                part.write_text(TEXTS[kind](evaluation), encoding='utf-8')
        drawn = [] if options.plots is None else [*draw_plots(evaluation, options.plots), *draw_cases(evaluation, options.plots)]
    except OSError as error:
        raise FRExError(f'a file cannot be read or written: {error}') from None
    # Last, since who reads it may not read to its end.
    print(to_markdown(evaluation), end='')
    for path in [*texts.values(), *drawn]:
        print(f'written: {path}')


def read_methods(given: Sequence[str]) -> dict[str, list[Path]]:
    """Of `NAME=FOLDER`, as often as a method has runs."""
    methods = defaultdict(list)
    for each in given:
        name, _, folder = each.partition('=')
        if not name or not folder:
            raise FRExError(f'--restored {each}: NAME=FOLDER is needed')
        methods[name].append(Path(folder).expanduser())
    return dict(methods)


def _refuse_one_for_two(texts: Mapping[str, Path]) -> None:
    kinds: dict[Path, str] = {}
    for kind, path in texts.items():
        other = kinds.setdefault(path.resolve(), kind)
        if other != kind:
            raise FRExError(f'--{other} and --{kind} are one file, {path}; give two')


def _refuse_filled(folder: Path, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise FRExError(f'--plots {folder}: is not a folder')
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise FRExError(f'--plots {folder}: is not empty; --overwrite replaces the plots in it')

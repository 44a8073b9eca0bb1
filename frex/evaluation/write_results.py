"""`frex evaluate`: evaluate, write the results to files, and print the tables."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from frex.errors import FRExError
from frex.evaluation.best_and_worst import draw_best_and_worst
from frex.evaluation.evaluator import Settings, evaluate
from frex.evaluation.markdown import to_markdown
from frex.evaluation.plots import draw_plots
from frex.evaluation.results import Evaluation
from frex.evaluation.serialize import to_csv, to_json
from frex.utils.extras import require_package
from frex.utils.files import check_output_path, write_atomically

TEXTS: dict[str, Callable[[Evaluation], str]] = {'json': to_json, 'csv': to_csv, 'markdown': to_markdown}


@dataclass(frozen=True)
class EvaluateOptions:
    """What to compare, and the files to write, None for none.

    `restored` holds texts NAME=FOLDER; the other inputs are those of `evaluate`. `plots` is a folder for plots and contact sheets, which is
    created where it is missing. Without `overwrite` an existing file, or a folder of plots that is not empty, is an error.
    """

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
    """Evaluate, write the requested files and print the tables.

    Raises FRExError as `evaluate` does and, before anything is computed, for files that exist, are named twice or whose folder is missing,
    and for plots that cannot be drawn or written.
    """
    texts: dict[str, Path] = {kind: getattr(options, kind) for kind in TEXTS if getattr(options, kind) is not None}
    _check_distinct_files(texts)
    for path in texts.values():
        check_output_path(path, options.overwrite)
    if options.plots is not None:
        require_package('matplotlib', '--plots')
        _check_plot_folder(options.plots, options.overwrite)
    try:
        evaluation = evaluate(read_methods(options.restored), options.gt, options.lq, options.cameras, settings)
        for kind, path in texts.items():
            with write_atomically(path) as part:
                part.write_text(TEXTS[kind](evaluation), encoding='utf-8')
        written = [] if options.plots is None else [*draw_plots(evaluation, options.plots), *draw_best_and_worst(evaluation, options.plots)]
    except OSError as error:
        raise FRExError(f'a file cannot be read or written: {error}') from None
    # Print last, since the reader of a pipe may stop reading before the end.
    print(to_markdown(evaluation), end='')
    for path in [*texts.values(), *written]:
        print(f'written: {path}')


def read_methods(texts: Sequence[str]) -> dict[str, list[Path]]:
    """Parse the texts NAME=FOLDER and return each method's folders, one per run: a NAME that is given several times has several runs.

    Raises FRExError for a text of another form.
    """
    methods = defaultdict(list)
    for text in texts:
        name, _, folder = text.partition('=')
        if not name or not folder:
            raise FRExError(f'--restored {text}: NAME=FOLDER is needed')
        methods[name].append(Path(folder).expanduser())
    return dict(methods)


def _check_distinct_files(texts: Mapping[str, Path]) -> None:
    """Raise FRExError where two of `texts`, the files to write by the names of their flags, are the same."""
    kinds: dict[Path, str] = {}
    for kind, path in texts.items():
        other = kinds.setdefault(path.resolve(), kind)
        if other != kind:
            raise FRExError(f'--{other} and --{kind} are one file, {path}; give two')


def _check_plot_folder(folder: Path, overwrite: bool) -> None:
    """Raise FRExError where the folder of plots is a file, or is not empty and `overwrite` is false."""
    if folder.exists() and not folder.is_dir():
        raise FRExError(f'--plots {folder}: is not a folder')
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise FRExError(f'--plots {folder}: is not empty; --overwrite replaces the plots in it')

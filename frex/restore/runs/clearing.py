"""What killed runs left behind: their records go to the report, their claims and half files away."""

import re
from collections.abc import Collection, Iterable
from pathlib import Path

from frex.restore.runs.journal import join_journal
from frex.restore.runs.presence import PREFIX, forget, is_alive, journals_of, words_of
from frex.restore.runs.report import Report
from frex.restore.runs.report_file import locked, read_report, write_report

CLAIM = '.claim-'
# As `frex.files.replacing` names them.
HALF_FILE = re.compile(r'.*\.[0-9a-f]{8}\.part')


def clear_up(folder: Path, folders: Iterable[Path]) -> None:
    """Half files in `folders`, and below, are removed where no other run writes to them. Raises FRExError."""
    if not any(next(folder.glob(f'{start}*'), None) for start in (PREFIX, CLAIM)):
        return
    with locked(folder):
        words = list(words_of(folder))
        alive = {word for word in words if is_alive(folder, word)}
        _drop_claims(folder, alive)
        dead = [word for word in words if word not in alive]
        if not dead:
            return
        report = read_report(folder)
        for journal in journals_of(folder, dead):
            join_journal(report, journal, finished=False)
        write_report(folder, report)
        for journal in journals_of(folder, dead):
            journal.unlink(missing_ok=True)
        if not alive:
            _drop_half_files([folder, *folders])
            for word in dead:
                forget(folder, word)


def _drop_claims(folder: Path, alive: Collection[str]) -> None:
    for claim in folder.glob(f'{CLAIM}*'):
        # One that is empty is just being made, unless nobody is there to make it.
        if not alive or claim.read_text() not in {'', *alive}:
            claim.unlink(missing_ok=True)


def _drop_half_files(folders: Iterable[Path]) -> None:
    own, *below = folders
    for path in [*own.glob('*.part'), *(part for folder in below for part in folder.rglob('*.part'))]:
        if HALF_FILE.fullmatch(path.name):
            path.unlink(missing_ok=True)


def report_of_all(folder: Path) -> Report:
    """The report with what the runs that go on have done so far. Raises FRExError where the file is no report."""
    report = read_report(folder)
    for journal in journals_of(folder, words_of(folder)):
        join_journal(report, journal, finished=False)
    return report

"""Clean up in an output folder after processes that were killed: merge their journals into the report, and remove incomplete files.

Incomplete files are removed only where no other process lives, since it may be writing them.
"""

from collections.abc import Iterable
from pathlib import Path

from frex.restore.folder.journal import PREFIX, is_alive, journal_path, merge_journal, remove_process_files, unfinished_process_ids
from frex.restore.folder.report import lock_report
from frex.restore.folder.report_index import ReportIndex
from frex.utils.files import PARTIAL_FILE


def recover_killed_runs(folder: Path, folders: Iterable[Path], own: str = '') -> None:
    """Merge the journals of processes that were killed into the report of the output folder `folder`.

    Where no other process lives, the incomplete files that they left are removed: those in `folder`, and those in `folders` and below. Else
    another process may be writing them, and a later call removes them. `own` is the id of this process, where it has one; it must not be
    writing a file. Raises FRExError where the report is damaged or cannot be written.
    """
    if not any(folder.glob(f'{PREFIX}*')):
        return
    with lock_report(folder):
        process_ids = [process_id for process_id in unfinished_process_ids(folder) if process_id != own]
        dead = [process_id for process_id in process_ids if not is_alive(folder, process_id)]
        _merge_journals(folder, [path for process_id in dead if (path := journal_path(folder, process_id)).exists()])
        if dead and len(dead) == len(process_ids):
            _remove_partial_files([folder, *folders])
            for process_id in dead:
                remove_process_files(folder, process_id)


def _merge_journals(folder: Path, journals: list[Path]) -> None:
    """Merge the journals of killed processes into the report of `folder`, then remove them; to be called within `lock_report`."""
    if not journals:
        return
    report = ReportIndex.read(folder)
    for journal in journals:
        merge_journal(report, journal, finished=False, killed=True)
    report.write(folder)
    for journal in journals:
        journal.unlink()


def _remove_partial_files(folders: Iterable[Path]) -> None:
    """Remove the incomplete files of `write_atomically` in the first of `folders`, and in the others and below."""
    output, *result_folders = folders
    for path in [*output.glob('*.part'), *(part for folder in result_folders for part in folder.rglob('*.part'))]:
        if PARTIAL_FILE.fullmatch(path.name):
            path.unlink(missing_ok=True)

"""The table at the end of a run."""

from collections.abc import Iterator

from frex.errors import one_line
from frex.restore.folder.report import PictureRecord, Report
from frex.utils.text import in_columns

SHOWN = 20
AGAIN = 'results are there; --exist overwrite or rename restores again'


def summary(report: Report, run: str) -> list[str]:
    """Lines on what a run did with its images: counts, then those without a face and those that failed, with the reason."""
    counts, faces = report.runs[run].pictures, report.runs[run].faces
    remarks = {'restored': f'{faces} face{"s" * (faces != 1)}', 'skipped': AGAIN if counts['skipped'] else ''}
    rows = [[status, str(number), remarks.get(status, '')] for status, number in counts.items()]
    own = [record for record in report.pictures if record.run == run]
    remarks_on_skipped = [f'skipped: {number} {reason}' for reason, number in report.runs[run].skipped.items()]
    return [*in_columns(rows), *remarks_on_skipped, *_limited('no face', own), *_limited('left', own), *_limited('failed', own)]


def _limited(word: str, records: list[PictureRecord]) -> Iterator[str]:
    told = [(record, reason) for record in records if (reason := _describe_record(word, record)) is not None]
    for record, reason in told[:SHOWN]:
        # Many a message names its file itself.
        end = reason.removeprefix(record.input).removeprefix(': ')
        yield f'{word}: {one_line(record.input)}{": " * bool(end)}{end}'
    if len(told) > SHOWN:
        yield f'{word}: {len(told) - SHOWN} more, see the report'


def _describe_record(word: str, record: PictureRecord) -> str | None:
    """What there is to say under `word` of an image; `left` are faces of a restored image that stay as they were."""
    if word == 'left' and record.status == 'restored':
        reasons = [face.reason for face in record.faces if face.reason is not None]
        return f'{len(reasons)} of {len(record.faces)} faces as they were: {reasons[0]}' if reasons else None
    return (record.reason or '') if record.status == word else None

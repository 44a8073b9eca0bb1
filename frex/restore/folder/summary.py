"""Describe a run in a few lines for the screen: a table of counts, lists of images, and the kinds of notes."""

import re
from collections.abc import Iterable, Iterator
from itertools import chain

from frex.errors import one_line
from frex.restore.film.records import FilmRecord
from frex.restore.folder.report import ImageRecord, Run
from frex.utils.text import in_columns

# Most images that the summary lists under each status.
MOST_LISTED = 20
LEFT_NOTE = re.compile(r'face \d+ is left as it is')
SKIPPED_HINT = 'results are there; --exist overwrite or rename restores again'


def summarize_run(run: Run, records: Iterable[ImageRecord]) -> list[str]:
    """Return the lines of a run's summary: a table of counts, lists of films, images without a face, faces left and failures, and notes.

    `records` are those of the run; they are read once.
    """
    counts, faces = run.images, run.faces
    skipped = [f'skipped: {number} {reason}' for reason, number in run.skipped.items()]
    sections: list[_ImageList | _NoteKinds] = [*map(_ImageList, ('film', 'no face', 'left', 'failed')), _NoteKinds()]
    unchanged = 0
    for record in records:
        unchanged += has_left_all_faces(record)
        for section in sections:
            section.add(record)
    left = f'; {unchanged} image{"s" * (unchanged != 1)} with all faces left as they were' if unchanged else ''
    remarks = {'restored': f'{faces} face{"s" * (faces != 1)}{left}', 'skipped': SKIPPED_HINT if counts['skipped'] else ''}
    rows = [[status, str(number), remarks.get(status, '')] for status, number in counts.items()]
    return [*in_columns(rows), *skipped, *chain.from_iterable(section.lines() for section in sections)]


def has_left_all_faces(record: ImageRecord) -> bool:
    """Return whether an image has faces and each of them stayed as it was."""
    return record.status == 'restored' and bool(record.faces) and all(face.reason is not None for face in record.faces)


class _NoteKinds:
    """The kinds of notes, each with the number of images that have it and the first of them; numbers in the notes of a kind may differ."""

    def __init__(self) -> None:
        self.kinds: dict[str, tuple[int, str, str]] = {}

    def add(self, record: ImageRecord) -> None:
        # Faces that are left are listed as such.
        notes = [note for note in record.notes if not LEFT_NOTE.match(note)]
        for kind, note in {re.sub(r'\d+', '#', note): note for note in notes}.items():
            number, first, text = self.kinds.get(kind, (0, record.input, note))
            self.kinds[kind] = number + 1, first, text

    def lines(self) -> Iterator[str]:
        listed = sorted(self.kinds.values(), key=lambda one: -one[0])
        for number, first, text in listed[:MOST_LISTED]:
            yield f'note: {f"{number} images, such as " * (number > 1)}{one_line(first)}: {one_line(text)}'
        if len(listed) > MOST_LISTED:
            yield f'note: {len(listed) - MOST_LISTED} more kinds, see the report'


class _ImageList:
    """The first images under a heading, each with the reason, and the number of the others."""

    def __init__(self, heading: str) -> None:
        self.heading = heading
        self.listed: list[str] = []
        self.others = 0

    def add(self, record: ImageRecord) -> None:
        reason = _reason_under(self.heading, record)
        if reason is None:
            return
        if len(self.listed) == MOST_LISTED:
            self.others += 1
            return
        # Many messages begin with the name of their file.
        text = reason.removeprefix(record.input).removeprefix(': ')
        self.listed.append(f'{self.heading}: {one_line(record.input)}{": " * bool(text)}{text}')

    def lines(self) -> Iterator[str]:
        yield from self.listed
        if self.others:
            yield f'{self.heading}: {self.others} more, see the report'


def _reason_under(heading: str, record: ImageRecord) -> str | None:
    """Return why an image is listed under a heading, a status, `left` or `film`; None where it is not.

    Under `left` are restored images of which some faces stay as they were, under `film` restored films.
    """
    if heading == 'film':
        return None if record.film is None or record.status != 'restored' else _describe_film(record.film)
    if heading == 'left' and record.status == 'restored':
        reasons = [face.reason for face in record.faces if face.reason is not None]
        return f'{len(reasons)} of {len(record.faces)} faces as they were: {reasons[0]}' if reasons else None
    return (record.reason or '') if record.status == heading else None


def _describe_film(film: FilmRecord) -> str:
    followed = f', {len(film.tracks)} face{"s" * (len(film.tracks) != 1)} followed' if film.tracks else ''
    earlier = f', {film.continued} of them by an earlier run' if film.continued else ''
    return f'{film.frames} frame{"s" * (film.frames != 1)}{earlier}{followed}'

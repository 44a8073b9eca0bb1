"""What the page shows: images in copies of a bounded size, and what the report says of an image and of its faces."""

from collections.abc import Sequence
from dataclasses import replace
from html import escape
from pathlib import Path

from frex.restore.folder.report import FaceRecord, ImageRecord
from frex.restore.image_io.metadata import Metadata
from frex.restore.image_io.photo_file import Photo, scale_photo, write_photo

# The longest sides, in pixels, of the copies that are shown of images and of uploads.
SHOWN_SIDE, THUMBNAIL_SIDE = 1600, 256
HEADINGS = ('face', 'score', 'pixels', 'yaw', 'pitch', 'identity similarity', 'result')


def write_preview(path: Path, photo: Photo, most_side: int, upscale: float = 1.0) -> None:
    """Write a copy of a photo, `upscale` times as wide and as high, but at most `most_side` pixels long on its longer side.

    The copy has the photo's colour profile, and none of its other metadata.
    """
    factor = min(upscale, most_side / max(photo.image.shape[:2]))
    write_photo(path, replace(scale_photo(photo, factor), metadata=Metadata(icc=photo.metadata.icc)))


def describe_image(record: ImageRecord) -> str:
    """Return what the report says of an image as HTML: its status, size and time, the reason, the notes, and a table of its faces."""
    restored = sum(face.reason is None for face in record.faces)
    faces = f', {restored} of {len(record.faces)} face{"s" * (len(record.faces) != 1)} restored' if record.faces else ''
    size = f', {record.width} x {record.height} pixels' if record.width else ''
    seconds = f', {sum(record.seconds.values()):.1f} s' if record.seconds else ''
    heading = f'<b>{escape(Path(record.input).name)}</b>: {record.status}{faces}{size}{seconds}'
    # Many reasons begin with the path of the file, which means nothing in a browser.
    reason = (record.reason or '').removeprefix(record.input).removeprefix(': ')
    remarks = [*([reason] if reason else []), *record.notes]
    notes = f'<ul>{"".join(f"<li>{escape(remark)}</li>" for remark in remarks)}</ul>' if remarks else ''
    return heading + notes + face_table(record)


def face_table(record: ImageRecord) -> str:
    """Return a table of the faces of an image as HTML; nothing where there are none."""
    if not record.faces:
        return ''
    rows = [_table_row('th', HEADINGS), *(_table_row('td', face_values(number, face)) for number, face in enumerate(record.faces))]
    return f'<table>{"".join(rows)}</table>'


def face_values(number: int, face: FaceRecord) -> tuple[str, ...]:
    """Return the texts for a face under the HEADINGS."""
    return (
        str(number),
        _format(face.score, '.2f'),
        _format(face.size, '.0f'),
        _format(face.yaw, '+.0f', '°'),
        _format(face.pitch, '+.0f', '°'),
        _format(face.identity_similarity, '.2f'),
        'restored' if face.reason is None else f'as it was: {face.reason}',
    )


def describe_face(number: int, face: FaceRecord) -> str:
    """Return one line on a face as HTML: why it is not restored, or from where the camera sees it."""
    if face.reason is not None:
        return f'Face {number} is as it was: {escape(face.reason)}'
    if face.yaw is None or face.pitch is None:
        return f'Face {number}'
    side = "person's left" if face.yaw > 0 else "person's right"
    height = 'above' if face.pitch > 0 else 'below'
    return f'Face {number}. Its camera: yaw {face.yaw:+.0f}° (sees the {side} side), pitch {face.pitch:+.0f}° (from {height}).'


def _format(value: float | None, form: str, unit: str = '') -> str:
    return '-' if value is None else f'{value:{form}}{unit}'


def _table_row(cell: str, values: Sequence[str]) -> str:
    return f'<tr>{"".join(f"<{cell}>{escape(value)}</{cell}>" for value in values)}</tr>'

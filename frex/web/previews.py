"""What the page shows: images in copies of a bounded size, and what the report says of an image and of its faces."""

from collections.abc import Iterator
from dataclasses import replace
from html import escape
from pathlib import Path

from frex.restore.folder.report import FaceRecord, ImageRecord
from frex.restore.image_io.metadata import Metadata
from frex.restore.image_io.photo_file import Photo, scale_photo, write_photo

# The longest sides, in pixels, of the copies that are shown of images and of uploads.
SHOWN_SIDE, THUMBNAIL_SIDE = 1600, 256
HEADINGS = ('face', 'score', 'pixels', 'yaw', 'pitch', 'identity', 'result')


def write_preview(path: Path, photo: Photo, most_side: int, upscale: float = 1.0) -> None:
    """Write a copy of a photo, `upscale` times as large, reduced so that its longer side has at most `most_side` pixels.

    The copy has the photo's colour profile, and none of its other metadata.
    """
    factor = min(upscale, most_side / max(photo.image.shape[:2]))
    write_photo(path, replace(scale_photo(photo, factor), metadata=Metadata(icc=photo.metadata.icc)))


def describe_image(record: ImageRecord) -> str:
    """Return what the report says of an image as HTML: its status, size and times, why it is so, and the notes."""
    restored = sum(face.reason is None for face in record.faces)
    faces = f', {restored} of {len(record.faces)} face{"s" * (len(record.faces) != 1)} restored' if record.faces else ''
    size = f', {record.width} x {record.height} pixels' if record.width else ''
    seconds = f', {sum(record.seconds.values()):.1f} s' if record.seconds else ''
    lines = [f'<b>{escape(Path(record.input).name)}</b>: {record.status}{faces}{size}{seconds}']
    # Many reasons begin with the path of the file, which means nothing in a browser.
    reason = (record.reason or '').removeprefix(record.input).removeprefix(': ')
    remarks = [*([reason] if reason else []), *record.notes]
    return '<br>'.join(lines) + (f'<ul>{"".join(f"<li>{escape(remark)}</li>" for remark in remarks)}</ul>' if remarks else '')


def face_rows(record: ImageRecord) -> Iterator[list[str]]:
    """Yield a row of texts for each face of an image, under the HEADINGS."""
    for number, face in enumerate(record.faces):
        values = (
            _number(face.score, '.2f'),
            _number(face.size, '.0f'),
            _number(face.yaw, '+.0f', '°'),
            _number(face.pitch, '+.0f', '°'),
            _number(face.identity_similarity, '.2f'),
        )
        yield [str(number), *values, face.reason or 'restored']


def describe_face(number: int, face: FaceRecord) -> str:
    """Return one line on a face as HTML: why it is not restored, or from where the camera sees it."""
    if face.reason is not None:
        return f'Face {number} is as it was: {escape(face.reason)}'
    if face.yaw is None or face.pitch is None:
        return f'Face {number}'
    side = "person's left" if face.yaw > 0 else "person's right"
    height = 'above' if face.pitch > 0 else 'below'
    return (
        f'Face {number}. Its camera: yaw {face.yaw:+.0f}° (sees the {side} side), pitch {face.pitch:+.0f}° (from {height}).'
    )


def _number(value: float | None, form: str, unit: str = '') -> str:
    return '-' if value is None else f'{value:{form}}{unit}'

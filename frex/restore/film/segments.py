"""Keep the finished segments of a film in a folder, so that a run that is stopped or killed goes on where it was."""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from frex.restore.film.records import TrackRecord
from frex.restore.film.tracking import TrackerState
from frex.utils.files import read_regular, sha256, write_bytes

# Frames of a segment. After a run that was killed, at most so many frames are restored again.
SEGMENT_FRAMES = 60
SOURCE = 'source.json'


class Segment(Struct, kw_only=True):
    """What is known of a finished segment: the number of its `frames`, and of the `faces` in them, without those of unusable landmarks.

    `first` and `last` are the times of its first and its last frame in seconds, and `seconds` the times of the stages. `tracker` is what
    the tracker remembers at its end, and `ended` holds the tracks that ended in it. `notes` holds the first note of each kind on its
    frames, by the kind. `failures` counts faces on which the network failed, by the reason.
    """

    frames: int = 0
    faces: int = 0
    first: float = 0.0
    last: float = 0.0
    seconds: dict[str, float] = {}
    tracker: TrackerState = field(default_factory=TrackerState)
    ended: list[TrackRecord] = []
    notes: dict[str, str] = {}
    failures: dict[str, int] = {}


class WorkFolder:
    """The folder of a film's segments, `.NAME.segments` beside its `result`; it is made where it is missing.

    `source` says in JSON types what the segments come from: the input, the options and the network. Segments of another source are
    removed at once.
    """

    def __init__(self, result: Path, source: Mapping[str, Any]) -> None:
        self.folder = result.with_name(f'.{result.name}.segments')
        content = json.dumps({**source, 'segment_frames': SEGMENT_FRAMES}, sort_keys=True, indent=1).encode()
        path = self.folder / SOURCE
        if not path.is_file() or read_regular(path) != content:
            self.remove()
            write_bytes(path, content)

    def path(self, number: int, suffix: str) -> Path:
        """Return the path of segment `number` with this suffix; the file may be missing."""
        return self.folder / f'{number:06d}{suffix}'

    def finished(self) -> list[Segment]:
        """Return the segments that are finished, from the first to the last before one that is not.

        Only the last one holds the state of the tracker: those of all would take much memory.
        """
        found: list[Segment] = []
        while (path := self.path(len(found), '.json')).is_file():
            try:
                segment = msgspec.json.decode(read_regular(path), type=Segment)
            # The disk may have lost what was written last.
            except msgspec.MsgspecError:
                break
            if found:
                found[-1].tracker = TrackerState()
            found.append(segment)
        return found

    def finish(self, number: int, segment: Segment) -> None:
        """Record that a segment is finished; to be called after its frames are written."""
        write_bytes(self.path(number, '.json'), msgspec.json.encode(segment))

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def hash_files(files: Sequence[Path]) -> str:
    """Return the SHA-256 of the names and the contents of files, in their order; raise FRExError where one cannot be read."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(f'{path.name}\0{sha256(path)}\0'.encode(errors='surrogateescape'))
    return digest.hexdigest()

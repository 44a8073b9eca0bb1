"""What the report says of a film and of the faces that were followed through it."""

from msgspec import Struct


class TrackRecord(Struct, kw_only=True):
    """The record of a face that was followed. `first` and `last` are numbers of frames, counted from 0.

    `frames` is the number of frames in which it was found, `restored` of those in which it was restored, and `size` the mean side of
    the aligned square in pixels of the film. `yaw` holds the least and the greatest yaw of the camera in degrees; it is null where the
    face was never restored. `reason` says why the face was not restored in some frames; it is null where it was in all of them.
    """

    first: int
    last: int
    frames: int
    restored: int
    size: float
    yaw: list[float] | None = None
    reason: str | None = None


class FilmRecord(Struct, kw_only=True):
    """The record of a film. `frames` is their number, `cuts` the number of scenes after the first, and `duration` the time in seconds.

    `rate` is the mean number of frames per second, `codec` that of the result, null for a folder of frames. `sound` names the codecs of
    the sound tracks that were copied. `continued` is the number of frames that an earlier run had restored. `tracks` holds the faces that
    were followed, by their first frame; it is empty with `--no_tracking`.
    """

    frames: int = 0
    cuts: int = 0
    duration: float = 0.0
    rate: float | None = None
    codec: str | None = None
    sound: list[str] = []
    continued: int = 0
    tracks: list[TrackRecord] = []

"""Follow faces from frame to frame, so that alignment, camera and latent code change smoothly, and textures do not flicker."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from msgspec import Struct, field

from frex.images import Image
from frex.restore.detection.align import scale_of
from frex.restore.detection.detector import DetectedFace
from frex.restore.detection.selection import Only, Selection
from frex.restore.faces.photo import Face
from frex.restore.faces.results import Restoration
from frex.restore.film.cuts import CutState, compare
from frex.restore.film.one_euro import FilterState, OneEuroFilter
from frex.restore.film.records import TrackRecord
from frex_arch.camera import Camera, pack_camera, pack_pose, rotation_from_6d, unpack_camera
from frex_arch.encoder_3d import Encoding3D

# Landmarks move in longer sides of the face's box per second, cameras in radians per second.
LANDMARKS = OneEuroFilter(min_cutoff=1.0, beta=8.0)
CAMERA = OneEuroFilter(min_cutoff=0.5, beta=2.0)
# A track ends when its face has not been found for so many seconds.
MOST_ABSENCE = 0.5
# A face continues a track where the boxes share at least this part of the area that they cover, or where the landmarks lie at this mean
# distance at most, in longer sides of the box; and where one box is at most this many times as large as the other.
LEAST_OVERLAP, MOST_DISTANCE, MOST_RATIO = 0.3, 0.5, 2.0
# RATE is the part of a new frame in the running share of frames in which a face holds more detail than its result would. Above KEEP_ABOVE
# the face stays as it is, and below RESTORE_BELOW it is restored.
RATE, KEEP_ABOVE, RESTORE_BELOW = 0.1, 0.8, 0.2


class Track(Struct):
    """A face that is followed. `box` and `seen`, the time in seconds, are those of the last frame in which it was found.

    `landmarks` and `camera` are the states of their filters. `z_3d` is the mean of the code Z_3D over the `encoded` frames so far. `kept`
    is the running share of frames in which the face would stay as it is, and `keep` why it stays. `first`, `last`, `frames`, `restored`,
    `yaw` and `reason` are those of `TrackRecord`, and `sizes` is the sum of the sizes, whose mean the record has.
    """

    first: int
    box: list[float]
    seen: float
    landmarks: FilterState
    camera: FilterState | None = None
    z_3d: list[float] = []
    encoded: int = 0
    kept: float = 0.0
    keep: str | None = None
    last: int = 0
    frames: int = 0
    restored: int = 0
    sizes: float = 0.0
    yaw: list[float] | None = None
    reason: str | None = None

    def record(self) -> TrackRecord:
        """Return the track's record for the report, with the mean size over its frames."""
        size = round(self.sizes / max(1, self.frames), 2)
        names = ('first', 'last', 'frames', 'restored', 'yaw', 'reason')
        return TrackRecord(size=size, **{name: getattr(self, name) for name in names})

    def likeness(self, face: DetectedFace) -> float | None:
        """Return how well a face continues the track, more for better; None where it cannot be the same face."""
        box, landmarks = np.array(self.box), np.array(self.landmarks.values).reshape(5, 2)
        side = float((box[2:] - box[:2]).max())
        overlap, distance = share_of_overlap(box, face.box), float(np.linalg.norm(face.landmarks - landmarks, axis=1).mean()) / side
        if not 1 / MOST_RATIO <= face.side / side <= MOST_RATIO or (overlap < LEAST_OVERLAP and distance > MOST_DISTANCE):
            return None
        return overlap - distance

    def add(self, number: int, time: float, face: DetectedFace) -> DetectedFace:
        """Continue the track with the face of frame `number`, at `time` in seconds; return a copy with landmarks smoothed over time."""
        self.landmarks = LANDMARKS.step(self.landmarks, face.landmarks.ravel(), time, face.side)
        self.box, self.seen, self.last, self.frames = face.box.tolist(), time, number, self.frames + 1
        return face._replace(landmarks=np.array(self.landmarks.values).reshape(5, 2))

    def steady_keep(self, face: Face) -> Face:
        """Return the face with a `keep` that does not change back and forth; to be called once for each frame.

        Whether the face stays as it is follows from its `keep` in many frames. A face with a problem is returned unchanged.
        """
        if face.problem is not None:
            return face
        now = float(face.keep is not None)
        self.kept += (now - self.kept) * (RATE if self.frames > 1 else 1)
        if self.kept > KEEP_ABOVE:
            self.keep = face.keep or self.keep
        elif self.kept < RESTORE_BELOW:
            self.keep = None
        return replace(face, keep=self.keep)

    def mean_code(self, z_3d: Float[np.ndarray, ' w']) -> Float[np.ndarray, ' w']:
        """Add the Z_3D of one more frame, and return the mean over the frames so far; one that is not finite is returned, not added."""
        if not np.isfinite(z_3d).all():
            return z_3d
        self.encoded += 1
        mean = np.array(self.z_3d) if self.z_3d else np.zeros_like(z_3d, float)
        mean += (z_3d - mean) / self.encoded
        self.z_3d = mean.tolist()
        return mean

    def count(self, face: Face, restoration: Restoration) -> None:
        """Add a frame's face and its result to the sum of sizes, the restored frames, the range of yaw and the last `reason`.

        The face counts as restored where `restoration` has a camera. `add` has counted the frame itself.
        """
        self.sizes += face.aligned.shape[0] / scale_of(face.matrix)
        self.reason = restoration.problem or self.reason
        if restoration.yaw is not None:
            self.restored += 1
            low, high = self.yaw or (restoration.yaw, restoration.yaw)
            self.yaw = [round(min(low, restoration.yaw), 2), round(max(high, restoration.yaw), 2)]


class Followed(NamedTuple):
    """A face of a frame with its landmarks smoothed over time, its track, and the time of the frame in seconds."""

    track: Track
    face: DetectedFace
    time: float


class TrackerState(Struct):
    """All that a tracker remembers between two frames: the tracks that have not ended, and what is needed to notice a cut."""

    cut: CutState = field(default_factory=CutState)
    scenes: int = 0
    tracks: list[Track] = []


class Tracker:
    """Follows the faces of a film. Faces whose score is at most `threshold` continue tracks, but begin none.

    `only` is that of `Selection`: with `center` or `largest` one face is followed at a time, and where none is, the one that is nearest to
    the centre, or the largest, begins a track. `ended` collects the tracks that have ended.
    """

    def __init__(self, state: TrackerState, threshold: float, only: Only = 'all') -> None:
        self.state, self.threshold, self.only = state, threshold, only
        self.ended: list[Track] = []

    def follow(self, number: int, time: float, image: Image, faces: Sequence[DetectedFace]) -> list[Followed]:
        """Follow the detected `faces` of frame `number`, a BGR `image` at `time` in seconds; return those that are part of a track.

        Their landmarks are smoothed over time, and their order is that of `faces`. Frames must be given in their order.
        """
        self.state.cut, is_cut = compare(self.state.cut, image)
        self.state.scenes += is_cut
        self._end(track for track in self.state.tracks if is_cut or time - track.seen > MOST_ABSENCE)
        continued = associate(self.state.tracks, faces)
        followed = []
        for index in self._choose(faces, continued, image):
            face, track = faces[index], continued[index]
            if track is None:
                track = Track(number, face.box.tolist(), time, LANDMARKS.step(None, face.landmarks.ravel(), time))
                self.state.tracks.append(track)
            followed.append(Followed(track, track.add(number, time, face), time))
        return followed

    def _end(self, tracks: Iterable[Track]) -> None:
        ended = list(tracks)
        self.ended += ended
        self.state.tracks = [track for track in self.state.tracks if not any(track is one for one in ended)]

    def _choose(self, faces: Sequence[DetectedFace], continued: Sequence[Track | None], image: Image) -> list[int]:
        """Return the indices into `faces` of those to follow; `continued` holds for each face the track that it continues, or None.

        All faces that continue a track are followed. Of the others those with a score above `threshold` begin one; where `only` is not
        `all`, just the one that `Selection` chooses in the frame `image`, and only while there is no track.
        """
        chosen = [index for index, face in enumerate(faces) if continued[index] is not None or face.score > self.threshold]
        if self.only == 'all':
            return chosen
        if self.state.tracks:
            return [index for index in chosen if continued[index] is not None]
        first = Selection(only=self.only).of([faces[index] for index in chosen], image.shape[1], image.shape[0])
        return [index for index in chosen if any(faces[index] is face for face in first)]


def associate(tracks: Sequence[Track], faces: Sequence[DetectedFace]) -> list[Track | None]:
    """Return the track that each face continues, None for a new face; the most alike pairs come first, and each track is taken once."""
    pairs = []
    for row, track in enumerate(tracks):
        for column, face in enumerate(faces):
            likeness = track.likeness(face)
            if likeness is not None:
                pairs.append((-likeness, row, column))
    continued: list[Track | None] = [None] * len(faces)
    taken: set[int] = set()
    for _, row, column in sorted(pairs):
        if row not in taken and continued[column] is None:
            taken.add(row)
            continued[column] = tracks[row]
    return continued


def share_of_overlap(first: Float[np.ndarray, '4'], second: Float[np.ndarray, '4']) -> float:
    """Return the intersection of two boxes, (left, top, right, bottom), over their union, 0 to 1."""
    sides = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    overlap = float(np.prod(np.maximum(sides, 0)))
    areas = sum(float(np.prod(box[2:] - box[:2])) for box in (first, second))
    return overlap / max(areas - overlap, 1e-6)


def steady_codes(followed: Sequence[Followed], code: Encoding3D) -> Encoding3D:
    """Return Enc_3D's predictions for faces with cameras smoothed over time and, as Z_3D, each track's mean so far.

    `code` holds the predictions for the faces `followed`, on the CPU. Both are in the order of the frames. The tracks are updated.
    """
    cameras = steady_cameras(followed, code.camera)
    if code.z_3d is None:
        return code._replace(camera=cameras)
    means = [one.track.mean_code(z_3d) for one, z_3d in zip(followed, code.z_3d.double().numpy(), strict=True)]
    return Encoding3D(torch.from_numpy(np.stack(means)).float(), code.offsets, cameras)


def steady_cameras(followed: Sequence[Followed], cameras: Camera) -> Camera:
    """Return the cameras of the faces `followed`, smoothed over time by the filter of each track, which is updated.

    They have orthonormal rotations, and keep their distances and intrinsics. A camera that is not finite does not enter its filter.
    """
    poses, intrinsics = unpack_camera(cameras)
    numbers = torch.cat([poses[:, :3, 0], poses[:, :3, 1], poses[:, :3, 3]], dim=1).double().numpy()
    filtered = []
    for one, row in zip(followed, numbers, strict=True):
        if not np.isfinite(row).all():
            filtered.append(row.tolist())
            continue
        one.track.camera = CAMERA.step(one.track.camera, row, one.time)
        filtered.append(one.track.camera.values)
    steady = torch.tensor(filtered, dtype=cameras.dtype)
    position = poses[:, :3, 3].norm(dim=1, keepdim=True) * F.normalize(steady[:, 6:], dim=1)
    return pack_camera(pack_pose(rotation_from_6d(steady[:, :6]), position), intrinsics)

"""How far each face of a pool is turned: from labels, a head-pose network or landmarks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tqdm import tqdm

from frex.camera_labels.estimate import LandmarkFinder, estimate
from frex.data.labels import CameraLabel, CropLabel, angles_of, check_rotations, match, read_labels, rows
from frex.device import choose_device
from frex.errors import FRExError
from frex.images import Image, read_aligned
from frex.testsets import hopenet
from frex.weights.locate import FileStatus, find_file
from frex.weights.manifest import entry

LABELS = 'dataset.json'


@dataclass(frozen=True, kw_only=True)
class PoseOptions:
    """Where the yaw of the faces in `pool` comes from: `pose` is auto, labels (`cameras`, or the pool's own file), hopenet or landmarks.

    `weights` is the folder of the networks' files. `frame` is how the faces are aligned, ffhq or eg3d, and `det_threshold` the least
    score of a face; both are for landmarks.
    """

    pool: Path
    pose: str = 'auto'
    cameras: Path | None = None
    frame: str = 'ffhq'
    weights: Path | None = None
    det_threshold: float = 0.5
    device: str = 'auto'


@dataclass(frozen=True)
class Poses:
    """By name: `yaw` in degrees, cameras and crops where they are known, and why the yaw of the others is not."""

    yaw: dict[str, float] = field(default_factory=dict)
    cameras: dict[str, CameraLabel] = field(default_factory=dict)
    crops: dict[str, CropLabel] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)


def choose_way(options: PoseOptions) -> str:
    """`labels`, `hopenet` or `landmarks`; raises FRExError where --cameras and --pose contradict each other."""
    way: str = options.pose
    if options.cameras is not None and way not in ('auto', 'labels'):
        raise FRExError(f'--pose {way}: does not look at --cameras; leave one of them out')
    if way != 'auto':
        return way
    if options.cameras is not None or labels_file(options).exists():
        return 'labels'
    return 'landmarks' if find_file(entry(hopenet.KEY), options.weights).state is FileStatus.MISSING else 'hopenet'


def labels_file(options: PoseOptions) -> Path:
    """--cameras, else the pool's own."""
    return Path(options.cameras if options.cameras is not None else options.pool / LABELS)


def find_poses(way: str, pictures: Mapping[str, Path], options: PoseOptions) -> Poses:
    """The poses of all images; raises FRExError where a label, or what estimates poses, is missing."""
    if way == 'labels':
        return from_labels(labels_file(options), list(pictures))
    device = choose_device(options.device)
    poses = Poses()
    if way == 'hopenet':
        network = hopenet.HeadPoseNetwork.from_weights(options.weights, device)
        _estimate(pictures, poses, lambda name, image: _by_network(name, image, network, poses))
    else:
        finder = LandmarkFinder.from_weights(options.weights, device, options.det_threshold)
        _estimate(pictures, poses, lambda name, image: _by_landmarks(name, image, finder, options.frame, poses))
    return poses


def from_labels(path: Path, names: list[str]) -> Poses:
    """From EG3D's `dataset.json`; raises FRExError where an image has no camera, or one that is none."""
    labels = read_labels(path)
    vectors = rows(labels.cameras, names, f'{path}: no camera')
    check_rotations(vectors, names, str(path))
    cameras = dict(zip(names, vectors, strict=True))
    return Poses({name: angles_of(camera)[0] for name, camera in cameras.items()}, cameras, match(labels.crops, names))


def _estimate(pictures: Mapping[str, Path], poses: Poses, look_at: Callable[[str, Image], None]) -> None:
    for name, path in tqdm(pictures.items(), unit='face', disable=None):
        try:
            look_at(name, read_aligned(path))
        except (FRExError, ValueError, RuntimeError) as error:
            if isinstance(error, torch.cuda.OutOfMemoryError):
                raise FRExError('--device: the GPU has too little free memory; --device cpu does without') from None
            poses.unknown[name] = str(error).removeprefix(f'{path}: ')


def _by_network(name: str, image: Image, network: hopenet.HeadPoseNetwork, poses: Poses) -> None:
    poses.yaw[name] = network.yaw(image)


def _by_landmarks(name: str, image: Image, finder: LandmarkFinder, frame: str, poses: Poses) -> None:
    poses.cameras[name], poses.crops[name] = estimate(finder.find(image), frame)
    poses.yaw[name] = angles_of(poses.cameras[name])[0]

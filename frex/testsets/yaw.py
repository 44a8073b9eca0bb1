"""Find the yaw of each face of a pool, from camera labels, a head-pose network or landmarks."""

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
    """How to find the yaw of the faces in `pool`: `pose` is auto, labels (`cameras`, or the pool's own file), hopenet or landmarks.

    `weights` is the folder of the networks' files. `frame` is the alignment of the faces, ffhq or eg3d, and `det_threshold` the lowest
    score of a detected face; both are used for landmarks only.
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
    """Results by name: `yaw` in degrees, cameras and crops where they are known, and in `unknown` why others have no yaw."""

    yaw: dict[str, float] = field(default_factory=dict)
    cameras: dict[str, CameraLabel] = field(default_factory=dict)
    crops: dict[str, CropLabel] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)


def choose_pose_source(options: PoseOptions) -> str:
    """Return `labels`, `hopenet` or `landmarks`; raise FRExError where --cameras and --pose contradict each other."""
    pose_source: str = options.pose
    if options.cameras is not None and pose_source not in ('auto', 'labels'):
        raise FRExError(f'--pose {pose_source}: does not look at --cameras; leave one of them out')
    if pose_source != 'auto':
        return pose_source
    if options.cameras is not None or labels_file(options).exists():
        return 'labels'
    return 'landmarks' if find_file(entry(hopenet.KEY), options.weights).state is FileStatus.MISSING else 'hopenet'


def labels_file(options: PoseOptions) -> Path:
    """Return the file of labels: --cameras, else the pool's own."""
    return Path(options.cameras if options.cameras is not None else options.pool / LABELS)


def find_poses(pose_source: str, images: Mapping[str, Path], options: PoseOptions) -> Poses:
    """Return the poses of all images, given by name.

    Raises FRExError where a label, or the network that estimates poses, is missing.
    """
    if pose_source == 'labels':
        return from_labels(labels_file(options), list(images))
    device = choose_device(options.device)
    poses = Poses()
    if pose_source == 'hopenet':
        network = hopenet.HeadPoseNetwork.from_weights(options.weights, device)
        _estimate(images, poses, lambda name, image: _by_network(name, image, network, poses))
    else:
        finder = LandmarkFinder.from_weights(options.weights, device, options.det_threshold)
        _estimate(images, poses, lambda name, image: _by_landmarks(name, image, finder, options.frame, poses))
    return poses


def from_labels(path: Path, names: list[str]) -> Poses:
    """Read poses from EG3D's `dataset.json`; raise FRExError where an image has no camera, or an invalid one."""
    labels = read_labels(path)
    vectors = rows(labels.cameras, names, f'{path}: no camera')
    check_rotations(vectors, names, str(path))
    cameras = dict(zip(names, vectors, strict=True))
    return Poses({name: angles_of(camera)[0] for name, camera in cameras.items()}, cameras, match(labels.crops, names))


def _estimate(images: Mapping[str, Path], poses: Poses, process: Callable[[str, Image], None]) -> None:
    """Call `process` for each image, and record why it fails."""
    for name, path in tqdm(images.items(), unit='face', disable=None):
        try:
            process(name, read_aligned(path))
        except (FRExError, ValueError, RuntimeError) as error:
            if isinstance(error, torch.cuda.OutOfMemoryError):
                raise FRExError('--device: the GPU has too little free memory; --device cpu does without') from None
            poses.unknown[name] = str(error).removeprefix(f'{path}: ')


def _by_network(name: str, image: Image, network: hopenet.HeadPoseNetwork, poses: Poses) -> None:
    """Store the yaw that Hopenet estimates."""
    poses.yaw[name] = network.yaw(image)


def _by_landmarks(name: str, image: Image, finder: LandmarkFinder, frame: str, poses: Poses) -> None:
    """Store camera, crop and yaw that landmarks give."""
    poses.cameras[name], poses.crops[name] = estimate(finder.find(image), frame)
    poses.yaw[name] = angles_of(poses.cameras[name])[0]

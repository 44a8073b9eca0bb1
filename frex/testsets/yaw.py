"""Find the yaw of each face of a pool, from camera labels, a head-pose network or landmarks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from frex.camera_labels.estimate import LandmarkFinder, estimate
from frex.data.labels import CameraLabel, CropLabel, angles_of, check_rotations, match, read_labels, rows
from frex.device import choose_device
from frex.errors import FRExError
from frex.images import Image, read_aligned
from frex.weights.locate import has_file, require_file
from frex.weights.state_dict import load_strict, pick
from frex.weights.torch_file import read_torch_file

LABELS = 'dataset.json'
# The key of Hopenet's weights in the manifest, and the size of its input.
HOPENET_KEY = 'hopenet'
INPUT_SIZE = 224
# Mean and standard deviation of ImageNet, RGB in [0, 1].
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


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
    return 'hopenet' if has_file(HOPENET_KEY, options.weights) else 'landmarks'


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
        network = HeadPoseNetwork.from_weights(options.weights, device)
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


def _by_network(name: str, image: Image, network: 'HeadPoseNetwork', poses: Poses) -> None:
    """Store the yaw that Hopenet estimates."""
    poses.yaw[name] = network.yaw(image)


def _by_landmarks(name: str, image: Image, finder: LandmarkFinder, frame: str, poses: Poses) -> None:
    """Store camera, crop and yaw that landmarks give."""
    poses.cameras[name], poses.crops[name] = estimate(finder.find(image), frame)
    poses.yaw[name] = angles_of(poses.cameras[name])[0]


class HeadPoseNetwork:
    """Hopenet on a device. Aligned faces have about the margins of its training images, so they are not cropped."""

    def __init__(self, net: torch.nn.Module, device: torch.device | str) -> None:
        self.net, self.device = net.eval(), torch.device(device)

    @classmethod
    def from_weights(cls, weights: Path | None = None, device: torch.device | str = 'cpu') -> 'HeadPoseNetwork':
        """Load the weights; raise FRExError, with the command that downloads them, where they are missing or damaged."""
        path = require_file(HOPENET_KEY, weights)
        net = build_hopenet()
        load_strict(net, pick(read_torch_file(path), 'params', str(path)), str(path))
        return cls(net.to(device), device)

    @torch.inference_mode()
    def yaw(self, image: Image) -> float:
        """Return the yaw in degrees, with the network's own sign: half the difference between image and mirror image."""
        seen = torch.stack([as_input(image), as_input(np.ascontiguousarray(image[:, ::-1]))])
        yaw, _, _ = self.net(seen.to(self.device))
        return float(yaw[0] - yaw[1]) / 2


def build_hopenet() -> torch.nn.Module:
    """Build facexlib's network, a ResNet-50 with 66 bins of 3 degrees, with random weights."""
    # Importing facexlib takes seconds.
    from facexlib.headpose.hopenet_arch import HopeNet

    return HopeNet('resnet', [3, 4, 6, 3], 66)


def as_input(image: Image) -> Float[Tensor, '3 224 224']:
    """Return an image as the network's input: RGB, 224 x 224, normalized as for ImageNet."""
    shrinks = min(image.shape[:2]) > INPUT_SIZE
    small = cv2.resize(image, (INPUT_SIZE, INPUT_SIZE), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    rgb = small[:, :, ::-1].astype(np.float32) / 255
    normalised = (rgb - np.array(MEAN, np.float32)) / np.array(DEVIATION, np.float32)
    return torch.from_numpy(np.ascontiguousarray(normalised.transpose(2, 0, 1)))

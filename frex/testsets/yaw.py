"""Find the yaw of each face of a pool, from camera labels, the head-pose network Hopenet, or landmarks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from frex.camera_labels.estimate import LandmarkFinder, estimate_camera
from frex.data.labels import CameraLabel, CropLabel, check_rotations, match_labels, read_labels, stack_labels, view_angles_in_degrees
from frex.device import choose_device
from frex.errors import FRExError
from frex.images import Image, read_aligned
from frex.weights.download import obtain_file
from frex.weights.locate import has_file
from frex.weights.state_dict import load_strict, pick_state
from frex.weights.torch_file import read_torch_file

LABELS = 'dataset.json'
# The key of Hopenet's weights in the manifest, and the size of its input.
HOPENET_KEY = 'hopenet'
INPUT_SIZE = 224
# ImageNet's mean and standard deviation of RGB in [0, 1].
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class YawOptions:
    """How to find the yaw of the faces in the folder `pool`.

    `pose` is the source: labels, hopenet, landmarks, or auto for labels where there is a label file, else hopenet where its weights are on
    the disk, else landmarks. Labels come from the file `cameras`, where that is None from the pool's own `dataset.json`. `weights` is the
    folder in which weight files are searched for first. `frame` is the alignment of the faces, ffhq or eg3d, and `det_threshold` the least
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
class FoundYaw:
    """Yaw and labels of images by name.

    `yaw` is in degrees, signed: from labels and landmarks it is positive where the person's left side is seen; from Hopenet it has the
    network's sign. `cameras` and `crops` are known from labels and landmarks only. `unknown` holds the images without a yaw, with the
    reason.
    """

    yaw: dict[str, float] = field(default_factory=dict)
    cameras: dict[str, CameraLabel] = field(default_factory=dict)
    crops: dict[str, CropLabel] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)


def choose_yaw_source(options: YawOptions) -> str:
    """Return `pose` of the options, for `auto` the source that YawOptions describes: `labels`, `hopenet` or `landmarks`.

    Raises FRExError where `cameras` is given, but `pose` is neither `auto` nor `labels`. An unknown `pose` is returned as it is.
    """
    yaw_source: str = options.pose
    if options.cameras is not None and yaw_source not in ('auto', 'labels'):
        raise FRExError(f'--pose {yaw_source}: does not use --cameras; leave one of them out')
    if yaw_source != 'auto':
        return yaw_source
    if options.cameras is not None or find_labels_file(options).exists():
        return 'labels'
    return 'hopenet' if has_file(HOPENET_KEY, options.weights) else 'landmarks'


def find_labels_file(options: YawOptions) -> Path:
    """Return the label file: --cameras, else the pool's own `dataset.json`, which may not exist."""
    return Path(options.cameras if options.cameras is not None else options.pool / LABELS)


def find_yaw(yaw_source: str, images: Mapping[str, Path], options: YawOptions) -> FoundYaw:
    """Find the yaw of all `images`, which are given by name, from one source: `labels`, `hopenet` or `landmarks`.

    A face whose yaw cannot be estimated is listed in `unknown`. Missing weights of Hopenet or the detector are downloaded. Raises FRExError
    where that is not possible or not allowed, where an image has no label, and where the GPU has too little memory.
    """
    if yaw_source == 'labels':
        return read_yaw_from_labels(find_labels_file(options), list(images))
    device = choose_device(options.device)
    found = FoundYaw()
    if yaw_source == 'hopenet':
        network = HeadPoseNetwork.from_weights(options.weights, device)
        _process_images(images, found, lambda name, image: _store_hopenet_yaw(name, image, network, found))
    else:
        finder = LandmarkFinder.from_weights(options.weights, device, options.det_threshold)
        _process_images(images, found, lambda name, image: _store_landmark_yaw(name, image, finder, options.frame, found))
    return found


def read_yaw_from_labels(path: Path, names: list[str]) -> FoundYaw:
    """Read the yaw, cameras and crops (s, t_x, t_y) of the images `names` from a `dataset.json` in EG3D's layout.

    An image whose label is null is `unknown`. Raises FRExError where an image has no label, or a camera that is not a rotation.
    """
    labels = read_labels(path)
    unlabelled = match_labels(dict.fromkeys(labels.unlabelled, np.zeros(0)), names)
    names = [name for name in names if name not in unlabelled]
    vectors = stack_labels(labels.cameras, names, f'{path}: no camera')
    check_rotations(vectors, names, str(path))
    cameras = dict(zip(names, vectors, strict=True))
    return FoundYaw(
        {name: view_angles_in_degrees(camera)[0] for name, camera in cameras.items()},
        cameras,
        match_labels(labels.crops, names),
        dict.fromkeys(unlabelled, f'null in {path}'),
    )


def _process_images(images: Mapping[str, Path], found: FoundYaw, process: Callable[[str, Image], None]) -> None:
    """Read each image and call `process(name, image)`; store in `found.unknown` why it fails.

    Raises FRExError where the GPU has too little memory.
    """
    for name, path in tqdm(images.items(), unit='face', disable=None):
        try:
            process(name, read_aligned(path))
        except (FRExError, ValueError, RuntimeError) as error:
            if isinstance(error, torch.cuda.OutOfMemoryError):
                raise FRExError('--device: the GPU has too little free memory; --device cpu does without') from None
            found.unknown[name] = str(error).removeprefix(f'{path}: ')


def _store_hopenet_yaw(name: str, image: Image, network: 'HeadPoseNetwork', found: FoundYaw) -> None:
    """Store in `found` the yaw that Hopenet estimates for one image."""
    found.yaw[name] = network.estimate_yaw(image)


def _store_landmark_yaw(name: str, image: Image, finder: LandmarkFinder, frame: str, found: FoundYaw) -> None:
    """Store in `found` the camera, crop and yaw that follow from the landmarks of one image; `frame` is its alignment."""
    found.cameras[name], found.crops[name] = estimate_camera(finder.find(image), frame)
    found.yaw[name] = view_angles_in_degrees(found.cameras[name])[0]


class HeadPoseNetwork:
    """Hopenet on a device. Aligned faces have about the margins of its training images, so they are not cropped."""

    def __init__(self, net: torch.nn.Module, device: torch.device | str) -> None:
        self.net, self.device = net.eval(), torch.device(device)

    @classmethod
    def from_weights(cls, weights: Path | None = None, device: torch.device | str = 'cpu') -> 'HeadPoseNetwork':
        """Load the network; its file is searched for in the folder `weights` first, then in the usual ones.

        A missing or damaged file is downloaded first. Raises FRExError, which says what to do, where that is not possible or not allowed.
        """
        path = obtain_file(HOPENET_KEY, weights)
        net = build_hopenet()
        load_strict(net, pick_state(read_torch_file(path), 'params', str(path)), str(path))
        return cls(net.to(device), device)

    @torch.inference_mode()
    def estimate_yaw(self, image: Image) -> float:
        """Return the yaw in degrees of an aligned face (BGR uint8, any size), with the network's own sign.

        It is half the difference between the estimates for the image and for its mirror image.
        """
        seen = torch.stack([to_hopenet_input(image), to_hopenet_input(np.ascontiguousarray(image[:, ::-1]))])
        yaw, _, _ = self.net(seen.to(self.device))
        return float(yaw[0] - yaw[1]) / 2


def build_hopenet() -> torch.nn.Module:
    """Build facexlib's network, a ResNet-50 with 66 bins of 3 degrees, with random weights."""
    # Importing facexlib takes seconds.
    from facexlib.headpose.hopenet_arch import HopeNet

    return HopeNet('resnet', [3, 4, 6, 3], 66)


def to_hopenet_input(image: Image) -> Float[Tensor, '3 224 224']:
    """Convert a BGR uint8 image to the network's input: RGB, 224 x 224, normalized by ImageNet's mean and standard deviation."""
    shrinks = min(image.shape[:2]) > INPUT_SIZE
    small = cv2.resize(image, (INPUT_SIZE, INPUT_SIZE), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    rgb = small[:, :, ::-1].astype(np.float32) / 255
    normalised = (rgb - np.array(MEAN, np.float32)) / np.array(DEVIATION, np.float32)
    return torch.from_numpy(np.ascontiguousarray(normalised.transpose(2, 0, 1)))

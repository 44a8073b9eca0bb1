"""`frex cameras estimate`: estimate the cameras of aligned faces from landmarks."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32
from tqdm import tqdm

from frex.camera_labels.head_pose import solve_camera
from frex.camera_labels.preview import Previews, report_failures
from frex.data.labels import CameraLabel, CropLabel, as_lists, write_labels
from frex.data.landmarks import crop_to_eg3d, flip_landmarks
from frex.data.sources import images_below
from frex.device import choose_device
from frex.errors import FRExError
from frex.images import Image, read_aligned, resize
from frex.restore.detection.dense_landmarks import KEY, LandmarkNetwork, five_landmarks
from frex.restore.detection.retinaface import DetectedFace, Detector, FaceDetector
from frex.utils.files import check_output_path
from frex.weights.locate import has_file

# Faces are resized to this size for the detector, which is most accurate at it.
DETECTOR_SIZE = 512
# The landmarks of one face in an image and in its mirror image differ by less than this, in image widths.
SAME_FACE = 0.1


class LandmarkFinder:
    """Finds five landmarks of the face in an aligned image: the detector's, or five of 98 where that network is installed."""

    def __init__(self, detector: Detector, network: LandmarkNetwork | None, threshold: float) -> None:
        self.detector, self.network, self.threshold = detector, network, threshold

    @classmethod
    def from_weights(cls, weights: Path | None, device: torch.device, threshold: float) -> 'LandmarkFinder':
        """Load the networks and print which are used; raise FRExError where no detector is installed."""
        detector = FaceDetector.from_weights(weights, device)
        has_network = has_file(KEY, weights)
        print(f'landmarks: {f"five of the 98 of {KEY}, faces by" if has_network else f"{KEY} is not there, so the five of"} {detector.key}')
        return cls(detector, LandmarkNetwork.from_weights(weights, device) if has_network else None, threshold)

    def find(self, image: Image) -> Float[np.ndarray, '5 2']:
        """Return the five landmarks of the largest face in image widths; raise FRExError where there is no face.

        They are the mean of those found in the image and in its mirror image, so that a mirrored image gets the mirrored camera.
        """
        resized = resize(image, DETECTOR_SIZE)
        faces = self._faces(resized)
        if not faces:
            raise FRExError(f'no face found with a score above {self.threshold:g}')
        mirrored = [flip_landmarks(face) for face in self._faces(np.ascontiguousarray(resized[:, ::-1]))]
        same = [face for face in mirrored if np.abs(face - faces[0]).max() < SAME_FACE]
        return np.mean([faces[0], *same[:1]], axis=0)

    def _faces(self, resized: Image) -> list[Float[np.ndarray, '5 2']]:
        """Return the five landmarks of each face in image widths, the largest face first."""
        faces = sorted(self.detector.detect(resized, self.threshold), key=_area, reverse=True)
        if faces and self.network is not None:
            return [five_landmarks(self.network.landmarks(resized))]
        return [face.landmarks / DETECTOR_SIZE for face in faces]


def _area(face: DetectedFace) -> float:
    """Return the area of a face's box."""
    left, top, right, bottom = face.box
    return float((right - left) * (bottom - top))


@dataclass(frozen=True)
class EstimateOptions:
    """The aligned faces in `folder`; their labels are written to `output`, and drawings of them to the folder `preview`."""

    folder: Path
    output: Path
    overwrite: bool = False
    frame: str = 'ffhq'
    weights: Path | None = None
    det_threshold: float = 0.5
    preview: Path | None = None
    device: str = 'auto'


def estimate_labels(options: EstimateOptions) -> int:
    """Write the cameras and crops of a folder's images; return 1 where an image has none, else 0.

    The file also names images without a face, so that training knows that they have no label.
    """
    _check(options)
    pictures = images_below(options.folder)
    previews = Previews(options.preview, options.overwrite) if options.preview is not None else None
    finder = LandmarkFinder.from_weights(options.weights, choose_device(options.device), options.det_threshold)
    cameras: dict[str, CameraLabel] = {}
    crops: dict[str, CropLabel] = {}
    failures: list[str] = []
    unlabelled: list[str] = []
    for name, path in tqdm(pictures.items(), unit='face', disable=None):
        try:
            image = read_aligned(path)
        except FRExError as error:
            failures.append(str(error))
            continue
        try:
            cameras[name], crops[name] = estimate(finder.find(image), options.frame)
            if previews is not None:
                previews.add(name, image, cameras[name], crops[name])
        except (FRExError, ValueError, RuntimeError) as error:
            unlabelled.append(name)
            failures.append(f'{name}: {error}')
    if not cameras:
        report_failures(failures)
        raise FRExError(f'no camera could be estimated, {options.output} is not written')
    write_labels(options.output, as_lists(cameras), as_lists(crops), unlabelled)
    print(f'{options.output}: {len(cameras)} cameras of {len(pictures)} images')
    if previews is not None:
        previews.finish()
    return report_failures(failures)


def _check(options: EstimateOptions) -> None:
    """Raise FRExError for an invalid threshold, and where the output exists and may not be overwritten."""
    if not 0 <= options.det_threshold < 1:
        raise FRExError(f'--det_threshold {options.det_threshold:g}: must be at least 0 and less than 1')
    check_output_path(options.output, options.overwrite)


def estimate(landmarks: Float[np.ndarray, '5 2'], frame: str) -> tuple[CameraLabel, Float32[np.ndarray, '3']]:
    """Return the camera, and the crop from the image to EG3D's; `frame` is `ffhq`, or `eg3d` for images in EG3D's crop.

    `landmarks` are in image widths. Raises ValueError where they fit no face.
    """
    crop = crop_to_eg3d(landmarks) if frame == 'ffhq' else np.array([1.0, 0.0, 0.0])
    camera = solve_camera(crop[0] * landmarks + crop[1:])
    return camera.astype(np.float32), crop.astype(np.float32)

"""`frex cameras estimate`: estimate the cameras of aligned faces from landmarks."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32
from tqdm import tqdm

from frex.camera_labels.head_pose import solve_camera
from frex.camera_labels.preview import PreviewFolder, report_failures
from frex.data.labels import CameraLabel, CropLabel, labels_to_lists, write_labels
from frex.data.landmarks import crop_to_eg3d, mirror_landmarks
from frex.data.sources import find_images
from frex.device import choose_device
from frex.errors import FRExError
from frex.images import Image, read_aligned, resize
from frex.restore.detection.dense_landmarks import KEY, LandmarkNetwork, five_landmarks
from frex.restore.detection.detector import DetectedFace, Detector
from frex.restore.detection.retinaface import FaceDetector
from frex.utils.files import check_output_path
from frex.weights.locate import has_file

# Faces are resized to this size for the detector, which is most accurate at it.
DETECTOR_SIZE = 512
# In image widths. Landmarks from an image and from its mirror image that differ by more belong to two faces.
SAME_FACE = 0.1


class LandmarkFinder:
    """Finds five landmarks of the face in an aligned image: those of the detector or, where that network is installed, five of 98.

    `network` is None where it is not installed; `threshold` is the least score of a detected face, 0 to 1.
    """

    def __init__(self, detector: Detector, network: LandmarkNetwork | None, threshold: float) -> None:
        self.detector, self.network, self.threshold = detector, network, threshold

    @classmethod
    def from_weights(cls, weights: Path | None, device: torch.device, threshold: float) -> 'LandmarkFinder':
        """Load the networks and print which are used; the folder `weights` is searched first.

        A missing detector is downloaded, a missing landmark network is not: the detector's landmarks are used then. Raises FRExError where
        the detector cannot or may not be downloaded.
        """
        detector = FaceDetector.from_weights(weights, device)
        has_network = has_file(KEY, weights)
        points = f'five of the 98 of {KEY}, faces by' if has_network else f'{KEY} is not installed, so the five of'
        print(f'landmarks: {points} {detector.key}')
        return cls(detector, LandmarkNetwork.from_weights(weights, device) if has_network else None, threshold)

    def find(self, image: Image) -> Float[np.ndarray, '5 2']:
        """Return five landmarks of the largest face in a square BGR image: eyes, nose, corners of the mouth, (x, y) in image widths.

        They are the mean of those found in the image and in its mirror image, so that a mirrored image gets the mirrored camera. Raises
        FRExError where there is no face.
        """
        resized = resize(image, DETECTOR_SIZE)
        faces = self._detect_landmarks(resized)
        if not faces:
            raise FRExError(f'no face found with a score above {self.threshold:g}')
        mirrored = [mirror_landmarks(face) for face in self._detect_landmarks(np.ascontiguousarray(resized[:, ::-1]))]
        same = [face for face in mirrored if np.abs(face - faces[0]).max() < SAME_FACE]
        return np.mean([faces[0], *same[:1]], axis=0)

    def _detect_landmarks(self, resized: Image) -> list[Float[np.ndarray, '5 2']]:
        """Return the five landmarks of each face in image widths, the largest face first; with the network of 98 those of one face only."""
        faces = sorted(self.detector.detect(resized, self.threshold), key=_box_area, reverse=True)
        if faces and self.network is not None:
            return [five_landmarks(self.network.landmarks(resized))]
        return [face.landmarks / DETECTOR_SIZE for face in faces]


def _box_area(face: DetectedFace) -> float:
    """Return the area of a face's box in square pixels."""
    left, top, right, bottom = face.box
    return float((right - left) * (bottom - top))


@dataclass(frozen=True)
class EstimateOptions:
    """The aligned faces in `folder`; their labels are written to the file `output`, and drawings of them to the folder `preview`, if given.

    Existing labels and drawings are replaced with `overwrite` only. `frame` is the alignment of the faces, ffhq or eg3d. `weights` is the
    folder in which weight files are searched for first. `det_threshold` is the least score of a detected face.
    """

    folder: Path
    output: Path
    overwrite: bool = False
    frame: str = 'ffhq'
    weights: Path | None = None
    det_threshold: float = 0.5
    preview: Path | None = None
    device: str = 'auto'


def estimate_labels(options: EstimateOptions) -> int:
    """Write a label file with the camera and the crop (s, t_x, t_y) of each image of a folder; return 1 where one gets none, else 0.

    The file also names images without a face, so that training knows that they have no label. An image that cannot be read, or is not
    square and so no aligned face, is not in it. Each image without a camera is printed with the reason. Raises FRExError for invalid
    options, where the detector cannot or may not be downloaded, and where no image gets a camera; then no file is written.
    """
    _check(options)
    images = find_images(options.folder)
    previews = PreviewFolder(options.preview, options.overwrite) if options.preview is not None else None
    finder = LandmarkFinder.from_weights(options.weights, choose_device(options.device), options.det_threshold)
    cameras: dict[str, CameraLabel] = {}
    crops: dict[str, CropLabel] = {}
    failures: list[str] = []
    unlabelled: list[str] = []
    for name, path in tqdm(images.items(), unit='face', disable=None):
        try:
            image = read_aligned(path)
        except FRExError as error:
            failures.append(str(error))
            continue
        try:
            camera, crop = estimate_camera(finder.find(image), options.frame)
            if previews is not None:
                previews.add(name, image, camera, crop)
            cameras[name], crops[name] = camera, crop
        except (FRExError, ValueError, RuntimeError) as error:
            unlabelled.append(name)
            failures.append(f'{name}: {error}')
    if not cameras:
        report_failures(failures)
        raise FRExError(f'no camera could be estimated, {options.output} is not written')
    write_labels(options.output, labels_to_lists(cameras), labels_to_lists(crops), unlabelled)
    print(f'{options.output}: {len(cameras)} cameras of {len(images)} images')
    if previews is not None:
        previews.finish()
    return report_failures(failures)


def _check(options: EstimateOptions) -> None:
    """Raise FRExError for an invalid threshold, and where the output exists and `overwrite` is false."""
    if not 0 <= options.det_threshold < 1:
        raise FRExError(f'--det_threshold {options.det_threshold:g}: must be at least 0 and less than 1')
    check_output_path(options.output, options.overwrite)


def estimate_camera(landmarks: Float[np.ndarray, '5 2'], frame: str) -> tuple[CameraLabel, Float32[np.ndarray, '3']]:
    """Return the camera of a face, and the crop (s, t_x, t_y) from the image to EG3D's crop, to which that camera belongs.

    `landmarks` (eyes, nose, corners of the mouth; left before right as seen in the image) are in image widths. `frame` is the image's
    alignment: `ffhq`, or `eg3d` for an image that is EG3D's crop itself. Raises ValueError where the landmarks fit no face.
    """
    crop = crop_to_eg3d(landmarks) if frame == 'ffhq' else np.array([1.0, 0.0, 0.0])
    camera = solve_camera(crop[0] * landmarks + crop[1:])
    return camera.astype(np.float32), crop.astype(np.float32)

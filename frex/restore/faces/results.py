"""The results of `FaceRestorer`: restored faces and images."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8

from frex.restore.faces.photo import Face
from frex.restore.image_io.photo_file import Photo
from frex_arch import FRExOutput
from frex_arch.camera import view_angles

RestoredPixels = UInt8[np.ndarray, 'size size 3']


@dataclass(frozen=True, eq=False)
class Restoration:
    """The result for one aligned face: `image` is the restored face, BGR; where it failed it is None and `problem` says why.

    `camera` (25) is the network's estimate, in EG3D's crop. `identity_similarity` is the cosine of ArcFace's embeddings of the degraded
    and the restored face; it is None where ArcFace's file is missing. `output` is the network's output for this face, on the CPU; it is
    None unless details were asked for.
    """

    image: RestoredPixels | None = None
    camera: Float[np.ndarray, '25'] | None = None
    identity_similarity: float | None = None
    output: FRExOutput | None = None
    problem: str | None = None

    @property
    def yaw(self) -> float | None:
        """The yaw of the camera in degrees, above 0 where it shows the person's left side; None where the face failed."""
        return None if self.camera is None else view_degrees(self.camera)[0]

    @property
    def pitch(self) -> float | None:
        """The pitch of the camera in degrees, above 0 where it looks down at the face; None where the face failed."""
        return None if self.camera is None else view_degrees(self.camera)[1]


@dataclass(frozen=True, eq=False)
class RestoredFace:
    """A face of a photograph and its result; see `Face` and `Restoration` for the fields.

    `yaw` and `pitch` are those of the network's camera, in degrees. Where the face failed, or stays as it is for its detail, `restored`
    is None, `problem` says why, and the result shows the face as it was.
    """

    box: Float[np.ndarray, '4']
    score: float
    landmarks: Float[np.ndarray, '5 2']
    matrix: Float[np.ndarray, '2 3']
    crop: Float[np.ndarray, '3']
    aligned: RestoredPixels
    restored: RestoredPixels | None
    camera: Float[np.ndarray, '25'] | None
    yaw: float | None
    pitch: float | None
    identity_similarity: float | None
    problem: str | None

    @classmethod
    def of(cls, face: Face, restoration: Restoration) -> 'RestoredFace':
        """Combine a face of a photograph with its restoration."""
        return cls(
            box=face.box,
            score=face.score,
            landmarks=face.landmarks,
            matrix=face.matrix,
            crop=face.crop,
            aligned=face.aligned,
            restored=restoration.image,
            camera=restoration.camera,
            yaw=restoration.yaw,
            pitch=restoration.pitch,
            identity_similarity=restoration.identity_similarity,
            problem=restoration.problem,
        )


@dataclass(frozen=True, eq=False)
class RestoredImage:
    """A restored photograph and its faces, in order of falling score.

    `photo` is the result with alpha and metadata. Where no face was found it is the input at its new size.
    """

    photo: Photo
    faces: tuple[RestoredFace, ...]

    @property
    def image(self) -> Shaped[np.ndarray, 'height width *channels']:
        """The result as an array of the input's depth, uint8 or uint16: BGRA if it has alpha, else (H, W) if it is grey, else BGR.

        Where `restore` was given an array or an image of Pillow with three colour channels, the result has them, too, even without colour.
        """
        if self.photo.alpha is not None:
            return np.dstack([self.photo.image, self.photo.alpha])
        return self.photo.image[:, :, 0].copy() if self.photo.grey else self.photo.image


def view_degrees(camera: Float[np.ndarray, '25']) -> tuple[float, float]:
    """Return yaw and pitch, in degrees, of the viewing direction of a camera (25), with the signs of `view_angles`."""
    yaw, pitch, _ = view_angles(torch.from_numpy(camera)[None])
    return math.degrees(yaw.item()), math.degrees(pitch.item())

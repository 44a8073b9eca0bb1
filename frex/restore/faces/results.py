"""What restoring gives back."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8

from frex.restore.faces.photo import Face
from frex.restore.image_io.photo_file import Picture
from frex_arch import FRExOutput
from frex_arch.camera import view_angles

RestoredPixels = UInt8[np.ndarray, 'size size 3']


@dataclass(frozen=True, eq=False)
class Restoration:
    """One aligned face: `image` restored, BGR, or None and the `problem`.

    `camera` is the one that the network saw it with, in EG3D's crop. `identity_similarity` is the cosine of ArcFace's embeddings
    of the degraded and the restored face, None where its file is not there. `output`, for this face alone and on the CPU, is
    None unless details were asked for.
    """

    image: RestoredPixels | None = None
    camera: Float[np.ndarray, '25'] | None = None
    identity_similarity: float | None = None
    output: FRExOutput | None = None
    problem: str | None = None


@dataclass(frozen=True, eq=False)
class RestoredFace:
    """A face of a photograph; see `Face` and `Restoration`. `yaw` and `pitch`, in degrees, are those of the network's camera.

    Where there is a `problem`, or the face is to be kept for its detail, `restored` is None, `problem` says why, and the image
    shows the face as it was.
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
        """Join what is known of a face."""
        yaw, pitch = (None, None) if restoration.camera is None else degrees(restoration.camera)
        return cls(
            box=face.box,
            score=face.score,
            landmarks=face.landmarks,
            matrix=face.matrix,
            crop=face.crop,
            aligned=face.aligned,
            restored=restoration.image,
            camera=restoration.camera,
            yaw=yaw,
            pitch=pitch,
            identity_similarity=restoration.identity_similarity,
            problem=restoration.problem,
        )


@dataclass(frozen=True, eq=False)
class RestoredImage:
    """A restored photograph, and its faces, the surest first. Without faces it is the image as it was, at its new size."""

    picture: Picture
    faces: tuple[RestoredFace, ...]

    @property
    def image(self) -> Shaped[np.ndarray, 'height width *channels']:
        """As the input was: uint8 or uint16; BGR, (H, W) if it was grey, BGRA if it had alpha."""
        if self.picture.alpha is not None:
            return np.dstack([self.picture.image, self.picture.alpha])
        return self.picture.image[:, :, 0].copy() if self.picture.grey else self.picture.image


def degrees(camera: Float[np.ndarray, '25']) -> tuple[float, float]:
    """Yaw and pitch of a camera's viewing direction."""
    yaw, pitch, _ = view_angles(torch.from_numpy(camera)[None])
    return math.degrees(yaw.item()), math.degrees(pitch.item())

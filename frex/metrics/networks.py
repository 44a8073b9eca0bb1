"""Metrics that use a network: LPIPS, ST-LPIPS, the identity angle Deg, and landmark distance."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from frex.images import resize
from frex.losses.arcface_losses import frozen_arcface
from frex.losses.lpips_loss import LPIPSLoss
from frex.losses.stlpips_loss import ShiftTolerantLPIPS
from frex.metrics.metric import Faces, Scores, require_gt
from frex.restore.detection.dense_landmarks import INPUT_SIZE, build_fan, peaks
from frex.tensors import to_images
from frex.weights.download import obtain_file
from frex.weights.state_dict import as_state, load_strict, pick_state
from frex.weights.torch_file import read_torch_file
from frex_arch.arcface import to_arcface_input

Device = torch.device | str
# The least image side in pixels, since the networks of LPIPS halve an image four or five times.
SMALLEST = 32


class LPIPSDistance:
    """LPIPS 0.1 (Zhang et al. 2018) with the trunk `net`, 'vgg' or 'alex'.

    `weights` is as in `LPIPSLoss`: a key of the manifest, a file, 'auto' for torchvision's of `net`, or None for random weights.
    """

    def __init__(self, net: str = 'vgg', weights: str | None = 'auto', device: Device = 'cpu') -> None:
        self.lpips = LPIPSLoss(net=net, weights=weights).lpips.to(device).eval()

    @torch.inference_mode()
    def __call__(self, restored: Faces, gt: Faces | None) -> Scores:
        """Return one distance per pair, NaN for images smaller than 32 x 32."""
        if min(restored.shape[2:]) < SMALLEST:
            return restored.new_full((len(restored),), torch.nan)
        return self.lpips(restored, require_gt(gt))[:, 0, 0, 0]


class STLPIPSDistance:
    """ST-LPIPS (Ghildyal and Liu 2022) with the trunk `net`, 'vgg' or 'alex'; its weights come with the package stlpips-pytorch."""

    def __init__(self, net: str = 'vgg', device: Device = 'cpu') -> None:
        self.stlpips = ShiftTolerantLPIPS(net).to(device)

    @torch.inference_mode()
    def __call__(self, restored: Faces, gt: Faces | None) -> Scores:
        """Return one distance per pair, NaN for images smaller than 32 x 32."""
        if min(restored.shape[2:]) < SMALLEST:
            return restored.new_full((len(restored),), torch.nan)
        return self.stlpips(restored, require_gt(gt))


class IdentityAngle:
    """Deg: the angle between the ArcFace embeddings of restored and clean image, in degrees; 0 for identical images.

    `weights` is a key of the manifest or a file; None means random weights, for tests only.
    """

    def __init__(self, weights: str | None = 'arcface_resnet18', device: Device = 'cpu') -> None:
        self.arcface = frozen_arcface(weights).to(device).eval()

    @torch.inference_mode()
    def __call__(self, restored: Faces, gt: Faces | None) -> Scores:
        """Return one angle per pair, in degrees."""
        # In float64, since near 1 the arc cosine of a float32 errs by hundredths of a degree.
        first, second = (self.arcface(to_arcface_input(faces)).double() for faces in (restored, require_gt(gt)))
        return F.cosine_similarity(first, second).clamp(-1, 1).arccos().rad2deg()


class LandmarkDistance:
    """LMD: the mean distance of the 98 facial landmarks that AWing finds in restored and clean image, in pixels of the images.

    `weights` is a key of the manifest or a file; None means random weights, for tests only.
    """

    def __init__(self, weights: str | None = 'awing_fan', device: Device = 'cpu') -> None:
        self.net = build_fan(torch.device(device)).to(device).eval()
        if weights is not None:
            path = obtain_file(weights)
            content = read_torch_file(path)
            state = pick_state(content, 'state_dict', str(path)) if 'state_dict' in content else as_state(content, str(path))
            load_strict(self.net, state, str(path))

    @torch.inference_mode()
    def __call__(self, restored: Faces, gt: Faces | None) -> Scores:
        """Return one mean distance per pair, in pixels."""
        first, second = (self.landmarks(faces) for faces in (restored, require_gt(gt)))
        return (first - second).norm(dim=2).mean(dim=1).to(restored.device)

    def landmarks(self, faces: Faces) -> Tensor:
        """Return the landmarks (x, y) of each face, (batch, 98, 2) in pixels, on the CPU.

        They are found as in `frex.restore.detection.dense_landmarks`, at 256 x 256.
        """
        inputs = np.stack([resize(image, INPUT_SIZE)[:, :, ::-1].transpose(2, 0, 1) for image in to_images(faces)])
        heatmaps, _ = self.net(torch.from_numpy(inputs).float().to(faces.device) / 255)
        points = np.stack([peaks(maps) for maps in heatmaps[-1][:, :-1].float().cpu()])
        return torch.from_numpy(points) * torch.tensor([faces.shape[3], faces.shape[2]])


def load_lpips(weights: Path | None, device: torch.device) -> LPIPSDistance:
    """Load LPIPS with VGG16 as `Metric.load` describes."""
    return LPIPSDistance('vgg', str(obtain_file('vgg16', weights)), device)


def load_lpips_alex(weights: Path | None, device: torch.device) -> LPIPSDistance:
    """Load LPIPS with AlexNet as `Metric.load` describes."""
    return LPIPSDistance('alex', str(obtain_file('alexnet', weights)), device)


def load_stlpips(weights: Path | None, device: torch.device) -> STLPIPSDistance:
    """Load ST-LPIPS with VGG16; the folder `weights` is ignored, since the weights come with a package."""
    return STLPIPSDistance('vgg', device)


def load_stlpips_alex(weights: Path | None, device: torch.device) -> STLPIPSDistance:
    """Load ST-LPIPS with AlexNet; the folder `weights` is ignored, since the weights come with a package."""
    return STLPIPSDistance('alex', device)


def load_identity_angle(weights: Path | None, device: torch.device) -> IdentityAngle:
    """Load Deg with ArcFace-18 as `Metric.load` describes."""
    return IdentityAngle(str(obtain_file('arcface_resnet18', weights)), device)


def load_landmark_distance(weights: Path | None, device: torch.device) -> LandmarkDistance:
    """Load LMD with the AWing network as `Metric.load` describes."""
    return LandmarkDistance(str(obtain_file('awing_fan', weights)), device)

"""Metrics for BasicSR's validation: functions of a restored image `img` and its clean image `img2`, both BGR uint8 of one size.

Each network is loaded at its first use in a process, on the process's GPU where there is one. A missing file of weights is downloaded then;
FRExError is raised where that is not possible or not allowed. BasicSR passes all keys of a metric's section in the option file, `better`
among them, so each function ignores further keys.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

from frex.device import choose_device
from frex.images import Image
from frex.metrics.metric import MetricFunction
from frex.metrics.networks import IdentityAngle, LandmarkDistance, LPIPSDistance, STLPIPSDistance
from frex.tensors import to_tensor


def calculate_lpips(img: Image, img2: Image, net: str = 'vgg', weights: str | None = 'auto', **_: Any) -> float:
    """Return LPIPS 0.1 with the trunk `net`, 'vgg' or 'alex'.

    `weights` is a key of the manifest of weight files, or the path of a file; 'auto' means torchvision's for `net`, None random weights,
    for tests only.
    """
    return _score(LPIPSDistance, img, img2, net=net, weights=weights)


def calculate_stlpips(img: Image, img2: Image, net: str = 'vgg', **_: Any) -> float:
    """Return shift-tolerant LPIPS (ST-LPIPS) with the trunk `net`, 'vgg' or 'alex'.

    Choose the trunk that no training loss uses, since training lowers a metric whose features its losses compare.
    """
    return _score(STLPIPSDistance, img, img2, net=net)


def calculate_deg(img: Image, img2: Image, weights: str | None = 'arcface_resnet18', **_: Any) -> float:
    """Return Deg, the angle in degrees between the ArcFace embeddings of the two images.

    `weights` is a key of the manifest of weight files, or the path of a file; None means random weights, for tests only.
    """
    return _score(IdentityAngle, img, img2, weights=weights)


def calculate_landmark_distance(img: Image, img2: Image, weights: str | None = 'awing_fan', **_: Any) -> float:
    """Return LMD, the mean distance in pixels between the 98 landmarks that AWing finds in `img` and those that it finds in `img2`.

    `weights` is a key of the manifest of weight files, or the path of a file; None means random weights, for tests only.
    """
    return _score(LandmarkDistance, img, img2, weights=weights)


# Function -> class of its network, which takes the function's arguments. The check before training builds it to find missing weights.
NETWORKS: dict[Callable[..., Any], Callable[..., MetricFunction]] = {
    calculate_lpips: LPIPSDistance,
    calculate_stlpips: STLPIPSDistance,
    calculate_deg: IdentityAngle,
    calculate_landmark_distance: LandmarkDistance,
}


@cache
def _network(kind: Callable[..., MetricFunction], **arguments: str | None) -> MetricFunction:
    """Return `kind(**arguments)` on this process's device, built once for each set of arguments."""
    return kind(**arguments, device=choose_device('auto', needs_float64=True))


def _score(kind: Callable[..., MetricFunction], img: Image, img2: Image, **arguments: str | None) -> float:
    """Return the score that the metric `kind`, built with `arguments`, gives to one pair of images."""
    device = choose_device('auto', needs_float64=True)
    first, second = (to_tensor(image)[None].to(device) for image in (img, img2))
    return float(_network(kind, **arguments)(first, second))

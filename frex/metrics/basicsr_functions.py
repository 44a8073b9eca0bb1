"""Metrics as functions of two BGR uint8 images, for BasicSR's validation.

Each network is loaded once per process, on its GPU where it has one. BasicSR passes all keys of a metric's section of the option file,
`better` among them, so each function ignores further keys.
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
    """Return LPIPS 0.1 with the trunk `net`; `weights` is as for LPIPSLoss."""
    return _score(LPIPSDistance, img, img2, net=net, weights=weights)


def calculate_stlpips(img: Image, img2: Image, net: str = 'vgg', **_: Any) -> float:
    """Return ST-LPIPS with the trunk `net`, `vgg` or `alex`; use the trunk that is not used in training."""
    return _score(STLPIPSDistance, img, img2, net=net)


def calculate_deg(img: Image, img2: Image, weights: str | None = 'arcface_resnet18', **_: Any) -> float:
    """Return the angle between the identity embeddings in degrees; `weights` is a key of the manifest or a file."""
    return _score(IdentityAngle, img, img2, weights=weights)


def calculate_landmark_distance(img: Image, img2: Image, weights: str | None = 'awing_fan', **_: Any) -> float:
    """Return the mean distance of 98 landmarks in pixels; `weights` is a key of the manifest or a file."""
    return _score(LandmarkDistance, img, img2, weights=weights)


# The class of each function's network, which takes the function's arguments; the check before a training builds it.
NETWORKS: dict[Callable[..., Any], Callable[..., MetricFunction]] = {
    calculate_lpips: LPIPSDistance,
    calculate_stlpips: STLPIPSDistance,
    calculate_deg: IdentityAngle,
    calculate_landmark_distance: LandmarkDistance,
}


@cache
def _network(kind: Callable[..., MetricFunction], **arguments: str | None) -> MetricFunction:
    """Return the metric `kind` with these arguments, loaded once."""
    return kind(**arguments, device=choose_device('auto'))


def _score(kind: Callable[..., MetricFunction], img: Image, img2: Image, **arguments: str | None) -> float:
    """Return the score of one pair of images."""
    device = choose_device('auto')
    first, second = (to_tensor(image)[None].to(device) for image in (img, img2))
    return float(_network(kind, **arguments)(first, second))

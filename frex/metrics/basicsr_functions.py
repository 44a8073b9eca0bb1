"""Metrics of two images for BasicSR's validation, BGR uint8. Their networks are loaded once a process, on its GPU where it has one.

BasicSR hands over all keys of a metric's section, `better` among them.
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
    """LPIPS 0.1; `weights` as for LPIPSLoss."""
    return _score(LPIPSDistance, img, img2, net=net, weights=weights)


def calculate_stlpips(img: Image, img2: Image, net: str = 'vgg', **_: Any) -> float:
    """ST-LPIPS with the trunk `net`, `vgg` or `alex`; train with the other one."""
    return _score(STLPIPSDistance, img, img2, net=net)


def calculate_deg(img: Image, img2: Image, weights: str | None = 'arcface_resnet18', **_: Any) -> float:
    """Angle of the identities in degrees; `weights` is a key of the manifest or a file."""
    return _score(IdentityAngle, img, img2, weights=weights)


def calculate_landmark_distance(img: Image, img2: Image, weights: str | None = 'awing_fan', **_: Any) -> float:
    """Mean distance of 98 landmarks in pixels; `weights` is a key of the manifest or a file."""
    return _score(LandmarkDistance, img, img2, weights=weights)


# What a function looks through, made of its other arguments; to be built where a run is checked.
NETWORKS: dict[Callable[..., Any], Callable[..., MetricFunction]] = {
    calculate_lpips: LPIPSDistance,
    calculate_stlpips: STLPIPSDistance,
    calculate_deg: IdentityAngle,
    calculate_landmark_distance: LandmarkDistance,
}


@cache
def _network(kind: Callable[..., MetricFunction], **arguments: str | None) -> MetricFunction:
    return kind(**arguments, device=choose_device('auto'))


def _score(kind: Callable[..., MetricFunction], img: Image, img2: Image, **arguments: str | None) -> float:
    device = choose_device('auto')
    first, second = (to_tensor(image)[None].to(device) for image in (img, img2))
    return float(_network(kind, **arguments)(first, second))

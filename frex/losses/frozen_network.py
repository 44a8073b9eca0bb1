"""Frozen networks whose features the losses compare. Losses with the same network can share it and its features of a pair of images."""

from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


class FrozenNetwork(nn.Module):
    """Base of the frozen networks that losses keep as their attribute `network`.

    `key` identifies architecture and weights: losses whose networks have equal keys can share one (`share_networks`). Within
    `feature_cache` the features of a pair of images are computed once, outside of it in every call.
    """

    def __init__(self, key: Hashable) -> None:
        super().__init__()
        self.key = key
        # (id of image, id of gt) -> (image, gt, features). It keeps the images alive, so that no other image gets their ids.
        self.cache: dict[tuple[int, int], tuple[Any, ...]] | None = None

    def compute(self, image: Float[Tensor, 'batch 3 height width'], gt: Float[Tensor, 'batch 3 height width']) -> tuple[Any, Any]:
        """Return the features of `image`, through which its gradient flows, and those of `gt`; both are RGB in [-1, 1]."""
        raise NotImplementedError

    def forward(self, image: Float[Tensor, 'batch 3 height width'], gt: Float[Tensor, 'batch 3 height width']) -> tuple[Any, Any]:
        """Return the features of `image` and those of `gt` as `compute` does, from the cache if there is one; no gradient flows to `gt`."""
        if self.cache is None:
            return self.compute(image, gt.detach())
        key = id(image), id(gt)
        if key not in self.cache:
            self.cache[key] = image, gt, self.compute(image, gt.detach())
        return self.cache[key][-1]


def mean_difference(feature: Float[Tensor, '*shape'], target: Float[Tensor, '*shape']) -> Float[Tensor, '']:
    """Return the mean absolute difference of two tensors of one shape.

    For bfloat16 tensors the sum is in float32 without a float32 copy of them, which `l1_loss` would make within autocast.
    """
    return (feature - target).abs().mean(dtype=torch.float32 if feature.dtype == torch.bfloat16 else None)


def _with_network(losses: Iterable[nn.Module]) -> list[Any]:
    return [loss for loss in losses if isinstance(getattr(loss, 'network', None), FrozenNetwork)]


def share_networks(losses: Iterable[nn.Module]) -> None:
    """Let losses whose networks have equal keys share the network of the first of them."""
    shared: dict[Hashable, Any] = {}
    for loss in _with_network(losses):
        loss.network = shared.setdefault(loss.network.key, loss.network)


def cast_layers(net: nn.Module, dtype: torch.dtype) -> None:
    """Cast the parameters of frozen convolutions and dense layers to autocast's `dtype`, which autocast would do in every call."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.to(dtype)


@contextmanager
def feature_cache(losses: Iterable[nn.Module]) -> Iterator[None]:
    """Return a context in which the frozen networks of `losses` compute the features of each pair of images, and their gradient, once."""
    networks = [loss.network for loss in _with_network(losses)]
    for network in networks:
        network.cache = {}
    try:
        yield
    finally:
        for network in networks:
            network.cache = None

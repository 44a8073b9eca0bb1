"""Frozen networks whose features losses compare: one for all losses that want the same, asked once for each image."""

from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn


class FrozenNetwork(nn.Module):
    """Base of the networks that losses keep as `network`; losses whose networks have equal keys can share one (`share_networks`).

    Within `feature_cache` the features of an image are computed once, outside of it in every call.
    """

    def __init__(self, key: Hashable) -> None:
        super().__init__()
        self.key = key
        # By the image's id; with the images, so that none takes another's place in memory.
        self.cache: dict[int, tuple[Tensor, Any]] | None = None

    def compute(self, image: Float[Tensor, 'batch 3 height width']) -> Any:
        """Features of RGB images in [-1, 1]."""
        raise NotImplementedError

    def forward(self, image: Float[Tensor, 'batch 3 height width']) -> Any:
        """What `compute` gives, from the cache where there is one."""
        if self.cache is None:
            return self.compute(image)
        if id(image) not in self.cache:
            self.cache[id(image)] = image, self.compute(image)
        return self.cache[id(image)][1]


def _with_network(losses: Iterable[nn.Module]) -> list[Any]:
    return [loss for loss in losses if isinstance(getattr(loss, 'network', None), FrozenNetwork)]


def share_networks(losses: Iterable[nn.Module]) -> None:
    """Give losses whose networks have equal keys one network."""
    shared: dict[Hashable, Any] = {}
    for loss in _with_network(losses):
        loss.network = shared.setdefault(loss.network.key, loss.network)


@contextmanager
def feature_cache(losses: Iterable[nn.Module]) -> Iterator[None]:
    """Within it, the network of each of `losses` computes the features of an image once, and so does its backward pass."""
    networks = [loss.network for loss in _with_network(losses)]
    for network in networks:
        network.cache = {}
    try:
        yield
    finally:
        for network in networks:
            network.cache = None

"""Features of VGG19 before their activations, for the perceptual and the style loss."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import vgg19

from frex.weights.places import locate
from frex.weights.state import load_strict, torchvision_state
from frex.weights.torch_file import read_torch_file

# Name of a convolution -> its place in torchvision's `features`.
LAYERS = {'conv1_2': 2, 'conv2_2': 7, 'conv3_4': 16, 'conv4_4': 25, 'conv5_4': 34}

# The paper's and the authors' weights of the layers.
LAYER_WEIGHTS = {'conv1_2': 0.1, 'conv2_2': 0.1, 'conv3_4': 1.0, 'conv4_4': 1.0, 'conv5_4': 1.0}

Features = dict[str, Float[Tensor, 'batch channel _ _']]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class VGGFeatures(nn.Module):
    """Frozen VGG19 up to the last of `layers`; `weights` as for `VGGLoss`."""

    mean: Tensor
    std: Tensor

    def __init__(self, layers: Sequence[str], weights: str | None = 'vgg19') -> None:
        super().__init__()
        unknown = set(layers) - set(LAYERS)
        if unknown:
            raise ValueError(f'layers {sorted(unknown)} are not among {list(LAYERS)}')
        self.layers = {LAYERS[name]: name for name in layers}
        self.features = _features(None if weights is None else locate(weights))[: max(self.layers) + 1]
        self.register_buffer('mean', torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)
        # What has been calculated `once`, with the images so that none takes another's place in memory.
        self.known: dict[int, tuple[Tensor, Features]] | None = None
        self.requires_grad_(False).eval()

    def forward(self, image: Float[Tensor, 'batch 3 height width']) -> Features:
        """Features of RGB in [-1, 1], by their names."""
        if self.known is None:
            return self._calculated(image)
        if id(image) not in self.known:
            self.known[id(image)] = image, self._calculated(image)
        return self.known[id(image)][1]

    def _calculated(self, image: Tensor) -> Features:
        x = ((image + 1) / 2 - self.mean) / self.std
        found = {}
        for place, layer in enumerate(self.features):
            x = layer(x)
            if place in self.layers:
                found[self.layers[place]] = x
        return found


def _features(path: Path | None) -> nn.Sequential:
    # Without storage at first, since the classifier, which is not used, is six times as large.
    with torch.device('meta'):
        net = vgg19(weights=None)
    del net.classifier
    net = net.to_empty(device=torch.get_default_device())
    for layer in net.features:
        if isinstance(layer, nn.ReLU):
            # In place it would overwrite the features that are taken before it.
            layer.inplace = False
        elif isinstance(layer, nn.Conv2d):
            layer.reset_parameters()
    if path is not None:
        state = torchvision_state(read_torch_file(path), str(path))
        load_strict(net, {name: value for name, value in state.items() if not name.startswith('classifier.')}, str(path))
    return net.features


class VGGLoss(nn.Module):
    """Weighted sum over layers of the mean absolute difference of what `describe` says of VGG19's features.

    `weights` is a key of the manifest or a file; random if None, which is for tests only.
    """

    def __init__(self, loss_weight: float = 1.0, layer_weights: Mapping[str, float] | None = None, weights: str | None = 'vgg19') -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.layer_weights = layer_weights or LAYER_WEIGHTS
        self.weights = weights
        self.vgg = VGGFeatures(list(self.layer_weights), weights)

    def describe(self, feature: Float[Tensor, 'batch channel height width']) -> Float[Tensor, 'batch ...']:
        """What is compared of one layer's feature."""
        return feature

    def forward(self, image: Float[Tensor, 'batch 3 height width'], gt: Float[Tensor, 'batch 3 height width']) -> Float[Tensor, '']:
        """Images are RGB in [-1, 1]; `gt` has no gradient."""
        features, targets = self.vgg(image), self.vgg(gt)
        terms = [
            w * F.l1_loss(self.describe(features[name]), self.describe(targets[name].detach())) for name, w in self.layer_weights.items()
        ]
        return self.loss_weight * torch.stack(terms).sum()


def share_features(losses: Iterable[nn.Module]) -> None:
    """Losses that look at the same layers with the same weights get one VGG19."""
    shared: dict[tuple[str | None, frozenset[str]], VGGFeatures] = {}
    for loss in losses:
        if isinstance(loss, VGGLoss):
            loss.vgg = shared.setdefault((loss.weights, frozenset(loss.layer_weights)), loss.vgg)


@contextmanager
def once(losses: Iterable[nn.Module]) -> Iterator[None]:
    """Within it, losses that share a VGG19 have each image's features calculated once, its gradient as well."""
    nets = [loss.vgg for loss in losses if isinstance(loss, VGGLoss)]
    for net in nets:
        net.known = {}
    try:
        yield
    finally:
        for net in nets:
            net.known = None

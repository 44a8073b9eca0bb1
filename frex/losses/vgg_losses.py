"""The losses that compare features of VGG19 before their ReLU: the perceptual term of Eqs. 10 and 14, and the style loss.

The style loss is not in the paper but in the authors' code.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import vgg19

from frex.losses.frozen_network import FrozenNetwork, mean_difference
from frex.weights.download import obtain_file
from frex.weights.state_dict import load_strict, torchvision_state
from frex.weights.torch_file import read_torch_file
from frex_arch.encoder_3d import ImageNetNormalization

# Name of a convolution -> its index in torchvision's `features`.
LAYERS = {'conv1_2': 2, 'conv2_2': 7, 'conv3_4': 16, 'conv4_4': 25, 'conv5_4': 34}

# The loss weights of the layers in the paper and in the authors' code.
LAYER_WEIGHTS = {'conv1_2': 0.1, 'conv2_2': 0.1, 'conv3_4': 1.0, 'conv4_4': 1.0, 'conv5_4': 1.0}

Features = dict[str, Float[Tensor, 'batch channel _ _']]


class FrozenVGG(FrozenNetwork):
    """Computes the features of the convolutions `layers` (keys of `LAYERS`) of VGG19, before their ReLU.

    `weights` is as in `VGGLoss`: a key of the manifest, a file, or None for random weights.
    """

    def __init__(self, layers: Sequence[str], weights: str | None = 'vgg19') -> None:
        super().__init__(('VGG19', weights, frozenset(layers)))
        unknown = set(layers) - set(LAYERS)
        if unknown:
            raise ValueError(f'layers {sorted(unknown)} are not among {list(LAYERS)}')
        self.layers = {LAYERS[name]: name for name in layers}
        self.features = _vgg_features(None if weights is None else obtain_file(weights))[: max(self.layers) + 1]
        self.normalize = ImageNetNormalization()
        self.requires_grad_(False).eval()

    def compute(self, image: Float[Tensor, 'batch 3 height width'], gt: Float[Tensor, 'batch 3 height width']) -> tuple[Features, Features]:
        """Return the features of `image` and those of `gt`, both RGB in [-1, 1], by the names of the layers."""
        return self._features(image), self._features(gt)

    def _features(self, image: Tensor) -> Features:
        x = self.normalize(image)
        found = {}
        for place, layer in enumerate(self.features):
            x = layer(x)
            if place in self.layers:
                found[self.layers[place]] = x
        return found


def _vgg_features(path: Path | None) -> nn.Sequential:
    """Return VGG19's layers without the classifier, none of them in place, with the weights of `path`; None gives random ones."""
    # Built without storage first, because the unused classifier is six times as large as the rest.
    with torch.device('meta'):
        net = vgg19(weights=None)
    del net.classifier
    net = net.to_empty(device=torch.get_default_device())
    for layer in net.features:
        if isinstance(layer, nn.ReLU):
            # In place it would overwrite the features before it, which are compared.
            layer.inplace = False
        elif isinstance(layer, nn.Conv2d):
            layer.reset_parameters()
    if path is not None:
        state = torchvision_state(read_torch_file(path), str(path))
        load_strict(net, {name: value for name, value in state.items() if not name.startswith('classifier.')}, str(path))
    return net.features


class VGGLoss(nn.Module):
    """Weighted sum over layers of the mean absolute difference of a statistic of VGG19's features (`compute_statistic`).

    `layer_weights` are loss weights by keys of `LAYERS`; None means `LAYER_WEIGHTS`. `weights` is a key of the manifest, whose file is
    downloaded first where it is missing, or a file of torchvision's VGG19 (see `obtain_file`); None gives random ones, for tests only.
    Raises ValueError for an unknown layer, and FRExError where the file cannot be obtained, is damaged, or is of another network.
    """

    def __init__(self, loss_weight: float = 1.0, layer_weights: Mapping[str, float] | None = None, weights: str | None = 'vgg19') -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.layer_weights = layer_weights or LAYER_WEIGHTS
        self.network = FrozenVGG(list(self.layer_weights), weights)

    def compute_statistic(self, feature: Float[Tensor, 'batch channel height width']) -> Float[Tensor, 'batch ...']:
        """Return what is compared of one layer's feature; by default the feature itself."""
        return feature

    def forward(self, image: Float[Tensor, 'batch 3 height width'], gt: Float[Tensor, 'batch 3 height width']) -> Float[Tensor, '']:
        """Return the sum over layers for RGB images in [-1, 1], times `loss_weight`; the gradient flows to `image` alone."""
        features, targets = self.network(image, gt)
        terms = [
            w * mean_difference(self.compute_statistic(features[name]), self.compute_statistic(targets[name]))
            for name, w in self.layer_weights.items()
        ]
        return self.loss_weight * torch.stack(terms).sum()


class VGGPerceptualLoss(VGGLoss):
    """Weighted sum over layers of the L1 distance of VGG19's features before their ReLU; arguments and errors are those of `VGGLoss`."""


class StyleLoss(VGGLoss):
    """Weighted sum over layers of the L1 distance of the Gram matrices of VGG19's features before their ReLU (Gatys et al. 2016).

    Arguments and errors are those of `VGGLoss`.
    """

    def compute_statistic(self, feature: Float[Tensor, 'batch channel height width']) -> Float[Tensor, 'batch channel channel']:
        return gram_matrix(feature)


def gram_matrix(feature: Float[Tensor, 'batch channel height width']) -> Float[Tensor, 'batch channel channel']:
    """Return the Gram matrix of each sample's channels, divided by channels x height x width."""
    flat = feature.flatten(2)
    return torch.einsum('bcp,bdp->bcd', flat, flat) / flat[0].numel()

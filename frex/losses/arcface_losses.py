"""The losses that compare features of ArcFace: the identity term of Eqs. 10 and 14, and the facial structure loss, Eq. 17."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from frex.errors import FRExError
from frex.losses.frozen_network import FrozenNetwork, mean_difference
from frex.weights.download import obtain_file
from frex.weights.network_file import build_network, read_network
from frex_arch import ArcFace
from frex_arch.arcface import ArcFaceFeatures, to_arcface_input


def frozen_arcface(weights: str | None) -> ArcFace:
    """Return ArcFace in evaluation mode, without gradients of its parameters.

    `weights` is a key of the manifest, whose file is downloaded first where it is missing, or a file (see `obtain_file`). None gives random
    weights, for tests only. Raises FRExError where the file cannot be obtained, is damaged, or is of another network.
    """
    if weights is None:
        return ArcFace().requires_grad_(False).eval()
    path = obtain_file(weights)
    net = build_network(read_network(path), str(path))
    if not isinstance(net, ArcFace):
        raise FRExError(f'{path}: holds the weights of {type(net).__name__}, not of ArcFace')
    return net.requires_grad_(False)


class FrozenArcFace(FrozenNetwork):
    """Computes ArcFace's features and embedding of RGB faces of any size.

    `weights` is as in `frozen_arcface`: a key of the manifest, a file, or None for random weights.
    """

    def __init__(self, weights: str | None) -> None:
        super().__init__(('ArcFace', weights))
        self.arcface = frozen_arcface(weights)
        self.eval()

    def compute(
        self, image: Float[Tensor, 'batch 3 height width'], gt: Float[Tensor, 'batch 3 height width']
    ) -> tuple[ArcFaceFeatures, ArcFaceFeatures]:
        """Return the features of `image` and those of `gt`, both RGB in [-1, 1]."""
        # Both in one pass: at 128 x 128 the kernel launches of a second pass cost a GPU more than the unused gradient of `gt`.
        both = self.arcface.features(torch.cat([to_arcface_input(image), to_arcface_input(gt)]))
        before, after = (list(zip(*(stage.chunk(2) for stage in stages), strict=True)) for stages in (both[0], both[1]))
        first, second = map(ArcFaceFeatures, before, after, both.embedding.chunk(2))
        return first, second


class IdentityLoss(nn.Module):
    """Distance of ArcFace embeddings: their mean absolute difference (`distance` 'l1', stage B), or 1 - cosine ('cosine', stage A).

    `weights` and errors are as in `frozen_arcface`; another `distance` raises ValueError.
    """

    def __init__(self, loss_weight: float = 1.0, distance: str = 'l1', weights: str | None = 'arcface_resnet18') -> None:
        super().__init__()
        if distance not in ('l1', 'cosine'):
            raise ValueError(f"distance is 'l1' or 'cosine', not {distance!r}")
        self.loss_weight = loss_weight
        self.distance = distance
        self.network = FrozenArcFace(weights)

    def forward(self, image: Float[Tensor, 'batch 3 height width'], gt: Float[Tensor, 'batch 3 height width']) -> Float[Tensor, '']:
        """Return the mean over the batch of RGB images in [-1, 1], times `loss_weight`; the gradient flows to `image` alone."""
        embedding, target = (features.embedding for features in self.network(image, gt))
        if self.distance == 'l1':
            return self.loss_weight * F.l1_loss(embedding, target)
        return self.loss_weight * (1 - F.cosine_similarity(embedding, target)).mean()


class StructureLoss(nn.Module):
    """Weighted sum of the L1 distances of the features of ArcFace's four stages.

    `layer_weights` are the loss weights of the stages, shallow to deep. Features are taken before the last activation of a stage (the
    paper) or, without `before_activation`, after it (the authors' code). `weights` and errors are as in `frozen_arcface`.
    """

    def __init__(
        self,
        loss_weight: float = 1.0,
        layer_weights: Sequence[float] = (0.1, 0.1, 1.0, 1.0),
        before_activation: bool = True,
        weights: str | None = 'arcface_resnet18',
    ) -> None:
        super().__init__()
        if len(layer_weights) != 4:
            raise ValueError(f'layer_weights are four numbers, not {list(layer_weights)}')
        self.loss_weight = loss_weight
        self.layer_weights = layer_weights
        self.before_activation = before_activation
        self.network = FrozenArcFace(weights)

    def forward(self, image: Float[Tensor, 'batch 3 height width'], gt: Float[Tensor, 'batch 3 height width']) -> Float[Tensor, '']:
        """Return the sum over stages for RGB images in [-1, 1], times `loss_weight`; the gradient flows to `image` alone."""
        features, targets = map(self._stages, self.network(image, gt))
        stages = zip(self.layer_weights, features, targets, strict=True)
        terms = [weight * mean_difference(feature, target) for weight, feature, target in stages]
        return self.loss_weight * torch.stack(terms).sum()

    def _stages(self, features: ArcFaceFeatures) -> Sequence[Tensor]:
        return features.before_activation if self.before_activation else features.after_activation

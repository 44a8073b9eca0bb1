"""LPIPS, the perceptual term of stage A and optionally of stage B (Eqs. 10 and 14)."""

import inspect
from pathlib import Path

import torch
from jaxtyping import Float
from lpips import LPIPS
from torch import Tensor, nn

from frex.weights.download import obtain_file
from frex.weights.state_dict import as_state, load_strict, torchvision_state
from frex.weights.torch_file import read_torch_file

# Network of LPIPS -> key of the manifest's file with the weights of its trunk.
TRUNKS = {'vgg': 'vgg16', 'alex': 'alexnet'}


class LPIPSLoss(nn.Module):
    """LPIPS 0.1 (Zhang et al. 2018) with the trunk `net`, 'vgg' (VGG16) or 'alex' (AlexNet).

    `weights` is a key of the manifest, whose file is downloaded first where it is missing, or a file with the trunk's weights. 'auto' means
    torchvision's for `net`, None random ones, for tests only. The linear layers come with the package lpips. Raises ValueError for another
    `net`, and FRExError as `load_trunk` does.
    """

    def __init__(self, loss_weight: float = 1.0, net: str = 'vgg', weights: str | None = 'auto') -> None:
        super().__init__()
        if net not in TRUNKS:
            raise ValueError(f'net {net!r} is not one of {list(TRUNKS)}')
        self.loss_weight = loss_weight
        self.lpips = LPIPS(net=net, pretrained=False, pnet_rand=True, verbose=False).requires_grad_(False)
        # The package would unpickle its own file without torch's `weights_only`.
        linear = Path(inspect.getfile(LPIPS)).parent / 'weights/v0.1' / f'{net}.pth'
        self.lpips.load_state_dict(as_state(read_torch_file(linear), str(linear)), strict=False)
        if weights is not None:
            load_trunk(self.lpips.net, TRUNKS[net] if weights == 'auto' else weights)

    def forward(self, image: Float[Tensor, 'batch 3 height width'], gt: Float[Tensor, 'batch 3 height width']) -> Float[Tensor, '']:
        """Return the mean over the batch of RGB images in [-1, 1], times `loss_weight`; the gradient flows to `image` alone."""
        features, targets = (self.lpips.net(self.lpips.scaling_layer(x)) for x in (image, gt.detach()))
        layers = zip(features, targets, self.lpips.lins, strict=True)
        return self.loss_weight * torch.stack([_distance(*layer) for layer in layers]).sum()


def _distance(feature: Tensor, target: Tensor, linear: nn.Module) -> Float[Tensor, '']:
    """Return one layer's term of LPIPS, mean over the batch, as the package computes it but with fewer passes over the features.

    It is in the features' dtype, and summed in float32 where that is bfloat16.
    """
    difference = torch.addcmul(feature * inverse_norm(feature), target, inverse_norm(target), value=-1)
    return linear(difference.square()).mean(dtype=torch.float32 if feature.dtype == torch.bfloat16 else None)


def inverse_norm(feature: Float[Tensor, 'batch channel height width']) -> Float[Tensor, 'batch 1 height width']:
    """Return 1 / (norm + 1e-10) of each pixel's feature vector, in the features' dtype, to scale the vector to unit length."""
    with torch.autocast(feature.device.type, enabled=False):
        norm = torch.linalg.vector_norm(feature, dim=1, keepdim=True, dtype=torch.float32 if feature.dtype == torch.bfloat16 else None)
        return (norm + 1e-10).reciprocal().to(feature.dtype)


def load_trunk(trunk: nn.Module, weights: str) -> None:
    """Load torchvision's weights into the trunk of LPIPS, whose names are `sliceK.N` for torchvision's `features.N`.

    `weights` is a key of the manifest, whose file is downloaded first where it is missing, or a file (see `obtain_file`). Raises FRExError
    where the file cannot be obtained, is damaged, or is of another network.
    """
    path = obtain_file(weights)
    own = {name.partition('.')[2]: name for name in trunk.state_dict()}
    state = torchvision_state(read_torch_file(path), str(path))
    features = {name.removeprefix('features.'): value for name, value in state.items() if name.startswith('features.')}
    load_strict(trunk, {own.get(name, name): value for name, value in features.items()}, str(path))

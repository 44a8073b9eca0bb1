"""LPIPS, the perceptual term of stage A and, as an option, that of stage B (Eqs. 10, 14)."""

import inspect
from pathlib import Path

import torch
from jaxtyping import Float
from lpips import LPIPS
from torch import Tensor, nn

from frex.weights.locate import require_file
from frex.weights.state_dict import as_state, load_strict, torchvision_state
from frex.weights.torch_file import read_torch_file

# Network of LPIPS -> the manifest's file of its trunk.
TRUNKS = {'vgg': 'vgg16', 'alex': 'alexnet'}


class LPIPSLoss(nn.Module):
    """LPIPS 0.1 (Zhang et al. 2018) with the trunk `net`, `vgg` or `alex`.

    `weights` is a key of the manifest or a file with the trunk's weights, `auto` the official ones of `net`, None random ones,
    which is for tests only.
    """

    def __init__(self, loss_weight: float = 1.0, net: str = 'vgg', weights: str | None = 'auto') -> None:
        super().__init__()
        if net not in TRUNKS:
            raise ValueError(f'net {net!r} is not one of {list(TRUNKS)}')
        self.loss_weight = loss_weight
        self.lpips = LPIPS(net=net, pretrained=False, pnet_rand=True, verbose=False).requires_grad_(False)
        # The package would read its own file without asking for weights alone.
        linear = Path(inspect.getfile(LPIPS)).parent / 'weights/v0.1' / f'{net}.pth'
        self.lpips.load_state_dict(as_state(read_torch_file(linear), str(linear)), strict=False)
        if weights is not None:
            load_trunk(self.lpips.net, TRUNKS[net] if weights == 'auto' else weights)

    def forward(self, image: Float[Tensor, 'batch 3 height width'], gt: Float[Tensor, 'batch 3 height width']) -> Float[Tensor, '']:
        """Return the mean over the batch; images are RGB in [-1, 1]; the gradient flows to `image`."""
        features, targets = (self.lpips.net(self.lpips.scaling_layer(x)) for x in (image, gt.detach()))
        layers = zip(features, targets, self.lpips.lins, strict=True)
        return self.loss_weight * torch.stack([_distance(*layer) for layer in layers]).sum()


def _distance(feature: Tensor, target: Tensor, linear: nn.Module) -> Float[Tensor, '']:
    """Return LPIPS of one layer as the package computes it, in the precision of the features and with fewer passes over them."""
    difference = torch.addcmul(feature * inverse_norm(feature), target, inverse_norm(target), value=-1)
    return linear(difference.square()).mean(dtype=torch.float32 if feature.dtype == torch.bfloat16 else None)


def inverse_norm(feature: Float[Tensor, 'batch channel height width']) -> Float[Tensor, 'batch 1 height width']:
    """Return the factor that makes each pixel's feature vector a unit vector, in the precision of the features."""
    with torch.autocast(feature.device.type, enabled=False):
        norm = torch.linalg.vector_norm(feature, dim=1, keepdim=True, dtype=torch.float32 if feature.dtype == torch.bfloat16 else None)
        return (norm + 1e-10).reciprocal().to(feature.dtype)


def load_trunk(trunk: nn.Module, weights: str) -> None:
    """Load torchvision's `features.N` into LPIPS's `sliceK.N`."""
    path = require_file(weights)
    own = {name.partition('.')[2]: name for name in trunk.state_dict()}
    state = torchvision_state(read_torch_file(path), str(path))
    features = {name.removeprefix('features.'): value for name, value in state.items() if name.startswith('features.')}
    load_strict(trunk, {own.get(name, name): value for name, value in features.items()}, str(path))

"""ST-LPIPS, a perceptual distance whose weights come in a PyPI package, for runs that cannot download VGG's."""

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from frex.losses.lpips_loss import inverse_norm
from frex.utils.extras import missing
from frex.weights.state_dict import State, as_state, load_strict
from frex.weights.torch_file import read_torch_file

PACKAGE = 'stlpips_pytorch'
# A layer's place among all layers of its trunk, as the package's file numbers them.
WEIGHT = re.compile(r'net\.slice\d+\.(\d+)\.(weight|bias)')
LINEAR = re.compile(r'lin(\d+)\.model\.1\.weight')
# Mean and standard deviation of ImageNet for images in [-1, 1], as LPIPS has them.
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


def find_weights(net: str) -> Path:
    """Return the file of the trunk `net` in the package stlpips-pytorch, none of whose code is run; raise FRExError without the package."""
    spec = find_spec(PACKAGE)
    path = Path(next(iter(spec.submodule_search_locations or ())) if spec else '', 'weights/vST0.0', f'{net}_shift_tolerant.pth')
    if spec is None or not path.is_file():
        raise missing(PACKAGE, 'ST-LPIPS')
    return path


class Blur(nn.Module):
    """Halve a feature map by the binomial filter (1, 2, 1) / 4 along both axes, its border reflected by two pixels."""

    kernel: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        line = torch.tensor([0.25, 0.5, 0.25])
        self.register_buffer('kernel', torch.outer(line, line).expand(channels, 1, 3, 3).contiguous(), persistent=False)

    def forward(self, x: Float[Tensor, 'batch channel height width']) -> Float[Tensor, 'batch channel _ _']:
        """Return about half of the height and of the width."""
        kernel = self.kernel.to(x.dtype)
        return F.conv2d(F.pad(x, (2, 2, 2, 2), mode='reflect'), kernel, stride=2, groups=len(kernel))


class BlurredConvolution(nn.Conv2d):
    """AlexNet's first convolution, 11 x 11 with a border of two zeros, and the blur that follows it, in one.

    Nothing lies between the two, so together they are one convolution of 13 x 13 with a stride of 2, which takes a quarter of the time.
    Only in the first and last row and column does the blur see reflected values: the first ones then equal the second ones, as do the last
    ones of an odd size; the last ones of an even size are means of two, which `_kernel` has weights of its own for.
    """

    def __init__(self) -> None:
        super().__init__(3, 64, 11)

    def forward(self, x: Float[Tensor, 'batch 3 height width']) -> Float[Tensor, 'batch 64 _ _']:
        """Return about half of the height and of the width."""
        padded, even = F.pad(x, (2, 2, 2, 2)), [size % 2 == 0 for size in x.shape[2:]]
        blurred = self._convolve(padded, False, False)
        if even[1]:
            blurred = torch.cat([blurred, self._convolve(padded[..., -12:], False, True)], dim=3)
        if even[0]:
            last = [self._convolve(padded[:, :, -12:], True, False)]
            last += [self._convolve(padded[:, :, -12:, -12:], True, True)] if even[1] else []
            blurred = torch.cat([blurred, torch.cat(last, dim=3)], dim=2)
        return F.pad(blurred, (1, not even[1], 1, not even[0]), mode='replicate')

    def _convolve(self, x: Tensor, is_last_row: bool, is_last_column: bool) -> Tensor:
        return F.conv2d(x, self._kernel(is_last_row, is_last_column), self.bias, stride=2)

    def _kernel(self, is_last_row: bool, is_last_column: bool) -> Float[Tensor, '64 3 _ _']:
        lines = [self.weight.new_tensor([0.5, 0.5] if last else [0.25, 0.5, 0.25]) for last in (is_last_row, is_last_column)]
        blur = torch.outer(*lines).expand(3, 1, -1, -1)
        # A blur is symmetric, so that correlation, which torch calculates, is convolution.
        kernel = F.conv2d(self.weight, blur, padding=(len(lines[0]) - 1, len(lines[1]) - 1), groups=3)
        return kernel.contiguous(memory_format=torch.channels_last)


def _convolution(inputs: int, outputs: int, size: int = 3) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, size, padding=size // 2), nn.ReLU(inplace=True)]


def _pool(size: int, channels: int) -> list[nn.Module]:
    return [nn.MaxPool2d(size, stride=1), Blur(channels)]


def _alexnet() -> list[list[nn.Module]]:
    return [
        # The package numbers the blur as a layer of its own.
        [BlurredConvolution(), nn.Identity(), nn.ReLU(inplace=True)],
        [*_pool(3, 64), *_convolution(64, 192, 5)],
        [*_pool(3, 192), *_convolution(192, 384)],
        _convolution(384, 256),
        _convolution(256, 256),
    ]


def _vgg16() -> list[list[nn.Module]]:
    slices: list[list[nn.Module]] = []
    inputs = 3
    for outputs, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        layers = _pool(2, inputs) if slices else []
        for _ in range(count):
            layers += _convolution(inputs, outputs)
            inputs = outputs
        slices.append(layers)
    return slices


TRUNKS = {'alex': (_alexnet, (64, 192, 384, 256, 256)), 'vgg': (_vgg16, (64, 128, 256, 512, 512))}


class ShiftTolerantLPIPS(nn.Module):
    """ST-LPIPS (Ghildyal and Liu 2022) with AlexNet or VGG16 as trunk, frozen: LPIPS that a shift by a pixel hardly changes."""

    shift: Tensor
    scale: Tensor

    def __init__(self, net: str) -> None:
        super().__init__()
        if net not in TRUNKS:
            raise ValueError(f'net {net!r} is not one of {list(TRUNKS)}')
        build, channels = TRUNKS[net]
        slices = build()
        self.layers = nn.Sequential(*(layer for part in slices for layer in part))
        # The features that are compared are those after the last layer of each slice.
        self.ends = {sum(map(len, slices[: number + 1])) - 1 for number in range(len(slices))}
        self.lins = nn.ModuleList(nn.Conv2d(count, 1, 1, bias=False) for count in channels)
        for name, values in (('shift', SHIFT), ('scale', SCALE)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1))
        path = find_weights(net)
        load_strict(self, _state(as_state(read_torch_file(path), str(path))), str(path))
        self.to(memory_format=torch.channels_last).requires_grad_(False).eval()

    def features(self, image: Float[Tensor, 'batch 3 height width']) -> list[Float[Tensor, 'batch _ _ _']]:
        """Return the five feature maps of RGB images in [-1, 1], not yet normalized."""
        x = ((image - self.shift) / self.scale).contiguous(memory_format=torch.channels_last)
        found = []
        for place, layer in enumerate(self.layers):
            x = layer(x)
            if place in self.ends:
                found.append(x)
        return found

    def forward(self, image: Float[Tensor, 'batch 3 height width'], gt: Float[Tensor, 'batch 3 height width']) -> Float[Tensor, ' batch']:
        """Return the distance of each pair of RGB images in [-1, 1]; the gradient flows to `image` only."""
        with torch.no_grad():
            targets = self.features(gt)
        return self.compare(self.features(image), targets)

    def compare(self, features: Sequence[Tensor], targets: Sequence[Tensor]) -> Float[Tensor, ' batch']:
        """Return the distance of each pair of images whose `features` are given."""
        layers = zip(features, targets, self.lins, strict=True)
        return torch.stack([_distance(*layer) for layer in layers]).sum(dim=0)


def _distance(feature: Tensor, target: Tensor, linear: nn.Module) -> Float[Tensor, ' batch']:
    difference = torch.addcmul(feature * inverse_norm(feature), target, inverse_norm(target), value=-1)
    return linear(difference.square()).mean(dim=(1, 2, 3), dtype=torch.float32 if feature.dtype == torch.bfloat16 else None)


def _state(stored: State) -> State:
    """Rename the weights of the package's file; its blurs, which are no weights, are left out."""
    state: State = {}
    for name, value in stored.items():
        if match := WEIGHT.fullmatch(name):
            state[f'layers.{match[1]}.{match[2]}'] = value
        elif match := LINEAR.fullmatch(name):
            state[f'lins.{match[1]}.weight'] = value
        elif not name.endswith('.filt'):
            state[name.removeprefix('scaling_layer.')] = value
    return state


class STLPIPSLoss(nn.Module):
    """ST-LPIPS with the trunk `net`, `alex` or `vgg`; raises FRExError without the package stlpips-pytorch, which holds the weights."""

    def __init__(self, loss_weight: float = 1.0, net: str = 'alex') -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.stlpips = ShiftTolerantLPIPS(net)

    def forward(self, image: Float[Tensor, 'batch 3 height width'], gt: Float[Tensor, 'batch 3 height width']) -> Float[Tensor, '']:
        """Return the mean over the batch; images are RGB in [-1, 1]; the gradient flows to `image`."""
        return self.loss_weight * self.stlpips(image, gt).mean()

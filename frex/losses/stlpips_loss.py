"""ST-LPIPS, a shift-tolerant LPIPS whose weights come with a PyPI package, for use where VGG's weights cannot be downloaded."""

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from frex.losses.lpips_loss import inverse_norm
from frex.utils.extras import missing_package
from frex.weights.state_dict import State, as_state, load_strict
from frex.weights.torch_file import read_torch_file

PACKAGE = 'stlpips_pytorch'
# Names of weights in the package's file. The number of a trunk's weight is its layer's index among all layers of the trunk.
WEIGHT = re.compile(r'net\.slice\d+\.(\d+)\.(weight|bias)')
LINEAR = re.compile(r'lin(\d+)\.model\.1\.weight')
# ImageNet's mean and standard deviation of RGB in [-1, 1], rounded as in LPIPS.
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


def find_stlpips_weights(net: str) -> Path:
    """Return the file with the weights of `net`, 'alex' or 'vgg', in the package stlpips-pytorch; none of the package's code is run.

    Raises FRExError where the package is not installed or lacks the file.
    """
    spec = find_spec(PACKAGE)
    path = Path(next(iter(spec.submodule_search_locations or ())) if spec else '', 'weights/vST0.0', f'{net}_shift_tolerant.pth')
    if spec is None or not path.is_file():
        raise missing_package(PACKAGE, 'ST-LPIPS')
    return path


class BlurPool(nn.Module):
    """Blurs with the binomial filter (1, 2, 1) / 4 along both axes, then keeps every second pixel (Zhang 2019).

    The border is reflected by two pixels, so that a side of n pixels becomes one of n / 2 + 1, rounded up.
    """

    kernel: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        line = torch.tensor([0.25, 0.5, 0.25])
        self.register_buffer('kernel', torch.outer(line, line).expand(channels, 1, 3, 3).contiguous(), persistent=False)

    def forward(self, x: Float[Tensor, 'batch channel height width']) -> Float[Tensor, 'batch channel _ _']:
        kernel = self.kernel.to(x.dtype)
        return F.conv2d(F.pad(x, (2, 2, 2, 2), mode='reflect'), kernel, stride=2, groups=len(kernel))


class BlurredConvolution(nn.Conv2d):
    """The first convolution of this AlexNet, 11 x 11 with two zeros of padding, and the `BlurPool` that follows it, as one layer.

    No activation lies between the two, so they are one convolution of 13 x 13 with stride 2, in a quarter of the time. Only the first and
    last row and column see the reflected border. The first equal the second ones, and so do the last of an odd size the ones before. The
    last of an even size are means of two convolved values, for which `_kernel` returns a smaller kernel.
    """

    def __init__(self) -> None:
        super().__init__(3, 64, 11)

    def forward(self, x: Float[Tensor, 'batch 3 height width']) -> Float[Tensor, 'batch 64 _ _']:
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
        """Return the convolution's weights, blurred; with blur weights (1, 1) / 2 along an axis on whose last line the kernel is used."""
        lines = [self.weight.new_tensor([0.5, 0.5] if last else [0.25, 0.5, 0.25]) for last in (is_last_row, is_last_column)]
        blur = torch.outer(*lines).expand(3, 1, -1, -1)
        # torch correlates, which is convolution here because the blur is symmetric.
        kernel = F.conv2d(self.weight, blur, padding=(len(lines[0]) - 1, len(lines[1]) - 1), groups=3)
        return kernel.contiguous(memory_format=torch.channels_last)


def _convolution(inputs: int, outputs: int, size: int = 3) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, size, padding=size // 2), nn.ReLU(inplace=True)]


def _pool(size: int, channels: int) -> list[nn.Module]:
    return [nn.MaxPool2d(size, stride=1), BlurPool(channels)]


def _alexnet() -> list[list[nn.Module]]:
    return [
        # An identity in the place of the blur keeps the package's numbering of layers.
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


# Network -> function that returns the slices of its trunk, and the channels of the features after each slice.
TRUNKS = {'alex': (_alexnet, (64, 192, 384, 256, 256)), 'vgg': (_vgg16, (64, 128, 256, 512, 512))}


class ShiftTolerantLPIPS(nn.Module):
    """ST-LPIPS (Ghildyal and Liu 2022), an LPIPS that a shift by a pixel hardly changes; frozen, with the trunk 'alex' or 'vgg'.

    Raises ValueError for another `net`, and FRExError without the package stlpips-pytorch, which holds the weights.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, net: str) -> None:
        super().__init__()
        if net not in TRUNKS:
            raise ValueError(f'net {net!r} is not one of {list(TRUNKS)}')
        build, channels = TRUNKS[net]
        slices = build()
        self.layers = nn.Sequential(*(layer for part in slices for layer in part))
        # The indices of the layers that end a slice, after which features are compared.
        self.ends = {sum(map(len, slices[: number + 1])) - 1 for number in range(len(slices))}
        self.lins = nn.ModuleList(nn.Conv2d(count, 1, 1, bias=False) for count in channels)
        for name, values in (('shift', SHIFT), ('scale', SCALE)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1))
        path = find_stlpips_weights(net)
        load_strict(self, _rename_weights(as_state(read_torch_file(path), str(path))), str(path))
        self.to(memory_format=torch.channels_last).requires_grad_(False).eval()

    def features(self, image: Float[Tensor, 'batch 3 height width']) -> list[Float[Tensor, 'batch _ _ _']]:
        """Return the five feature maps, shallow to deep and not normalised, of RGB images in [-1, 1]."""
        x = ((image - self.shift) / self.scale).contiguous(memory_format=torch.channels_last)
        found = []
        for place, layer in enumerate(self.layers):
            x = layer(x)
            if place in self.ends:
                found.append(x)
        return found

    def forward(self, image: Float[Tensor, 'batch 3 height width'], gt: Float[Tensor, 'batch 3 height width']) -> Float[Tensor, ' batch']:
        """Return the distance of each pair of RGB images in [-1, 1]; the gradient flows to `image` alone."""
        with torch.no_grad():
            targets = self.features(gt)
        return self.compare(self.features(image), targets)

    def compare(self, features: Sequence[Tensor], targets: Sequence[Tensor]) -> Float[Tensor, ' batch']:
        """Return the distance of each pair of images, given the feature maps of both as `features` returns them."""
        layers = zip(features, targets, self.lins, strict=True)
        return torch.stack([_distance(*layer) for layer in layers]).sum(dim=0)


def _distance(feature: Tensor, target: Tensor, linear: nn.Module) -> Float[Tensor, ' batch']:
    difference = torch.addcmul(feature * inverse_norm(feature), target, inverse_norm(target), value=-1)
    return linear(difference.square()).mean(dim=(1, 2, 3), dtype=torch.float32 if feature.dtype == torch.bfloat16 else None)


def _rename_weights(stored: State) -> State:
    """Turn the package's names of weights into those of `ShiftTolerantLPIPS`; its constant blur filters are left out."""
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
    """ST-LPIPS as a loss, with the trunk `net`, 'alex' or 'vgg'; errors as for `ShiftTolerantLPIPS`."""

    def __init__(self, loss_weight: float = 1.0, net: str = 'alex') -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.stlpips = ShiftTolerantLPIPS(net)

    def forward(self, image: Float[Tensor, 'batch 3 height width'], gt: Float[Tensor, 'batch 3 height width']) -> Float[Tensor, '']:
        """Return the mean over the batch of RGB images in [-1, 1], times `loss_weight`; the gradient flows to `image` alone."""
        return self.loss_weight * self.stlpips(image, gt).mean()

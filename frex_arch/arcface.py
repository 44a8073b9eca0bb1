"""The frozen identity network: ArcFace-18 as GFPGAN uses it, in its official parameter layout."""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from frex_arch.ops import check_int

# Rec. 601 luma from red, green and blue.
GREY_WEIGHTS = (0.2989, 0.5870, 0.1140)
INPUT_SIZE = 128


def to_arcface_input(image: Float[Tensor, 'batch 3 height width']) -> Float[Tensor, 'batch 1 128 128']:
    """Turn RGB in [-1, 1] into ArcFace's input: grey, [-1, 1], 128 x 128, resized bilinearly without antialiasing as in GFPGAN."""
    # Both steps are linear, so the order does not matter; resizing first computes the grey values of fewer pixels.
    small = F.interpolate(image, size=(INPUT_SIZE, INPUT_SIZE), mode='bilinear', align_corners=False)
    red, green, blue = (channel * weight for channel, weight in zip(small.split(1, dim=1), GREY_WEIGHTS, strict=True))
    return red + green + blue


class IRBlock(nn.Module):
    """Residual block of ArcFace-18. The PReLU inside the branch and the one after the sum share their parameter."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.bn0 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, in_channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.prelu = nn.PReLU()
        self.conv2 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = (
            nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False), nn.BatchNorm2d(out_channels))
            if stride > 1 or in_channels != out_channels
            else None
        )

    def residual(self, x: Tensor) -> Tensor:
        """Return the sum of branch and shortcut, before the last PReLU."""
        branch = self.prelu(self.bn1(self.conv1(self.bn0(x))))
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.bn2(self.conv2(branch)) + shortcut

    def forward(self, x: Tensor) -> Tensor:
        return self.prelu(self.residual(x))


class ArcFaceFeatures(NamedTuple):
    """The features that losses compare.

    Both sequences hold the outputs of the four stages, from (batch, 64, 64, 64) to (batch, 512, 8, 8), before and after the stage's last
    PReLU. `embedding` is not normalised to unit length.
    """

    before_activation: Sequence[Tensor]
    after_activation: Sequence[Tensor]
    embedding: Float[Tensor, 'batch 512']


class ArcFace(nn.Module):
    """ArcFace-18 without squeeze-and-excitation; `layers` are the numbers of residual blocks in its four stages.

    Use it in `eval()`: in training mode its batch normalisation and dropout make the result depend on the batch and on chance.
    """

    def __init__(self, *, layers: Sequence[int] = (2, 2, 2, 2)) -> None:
        super().__init__()
        if len(layers) != 4:
            raise ValueError(f'layers are four numbers of blocks, not {len(layers)}')
        for blocks in layers:
            check_int('layers', blocks, 1, 100)
        self.conv1 = nn.Conv2d(1, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.prelu = nn.PReLU()
        self.maxpool = nn.MaxPool2d(2)
        self.layer1 = self._stage(64, 64, layers[0], stride=1)
        self.layer2 = self._stage(64, 128, layers[1], stride=2)
        self.layer3 = self._stage(128, 256, layers[2], stride=2)
        self.layer4 = self._stage(256, 512, layers[3], stride=2)
        self.bn4 = nn.BatchNorm2d(512)
        self.dropout = nn.Dropout()
        self.fc5 = nn.Linear(512 * 8 * 8, 512)
        self.bn5 = nn.BatchNorm1d(512)

    @staticmethod
    def _stage(in_channels: int, out_channels: int, blocks: int, stride: int) -> nn.Sequential:
        first = IRBlock(in_channels, out_channels, stride)
        return nn.Sequential(first, *(IRBlock(out_channels, out_channels, 1) for _ in range(blocks - 1)))

    def features(self, grey: Float[Tensor, 'batch 1 128 128']) -> ArcFaceFeatures:
        """Return features and embedding of the images that `to_arcface_input` makes."""
        x = self.maxpool(self.prelu(self.bn1(self.conv1(grey))))
        before, after = [], []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            last = cast(IRBlock, stage[-1])
            before.append(last.residual(stage[:-1](x)))
            x = last.prelu(before[-1])
            after.append(x)
        return ArcFaceFeatures(before, after, self.bn5(self.fc5(self.dropout(self.bn4(x)).flatten(1))))

    def forward(self, grey: Float[Tensor, 'batch 1 128 128']) -> Float[Tensor, 'batch 512']:
        """Return the embedding, not normalised to unit length, of the images that `to_arcface_input` makes."""
        return self.features(grey).embedding

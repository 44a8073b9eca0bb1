"""The 2D decoder, which fuses the features of Enc_2D with a pyramid of the 3D prior's features (FREx, Eq. 4)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from frex_arch.blocks import ConvLayer, Features, ResBlock
from frex_arch.ops import resolutions


class Pyramid3D(nn.Module):
    """Downsamples the rendered feature image to the pyramid F_3D^i: feature maps from `render_size` down to 8.

    `channels` are the channels of each level by its size, except the finest, which has `feature_channels`.
    """

    def __init__(self, *, render_size: int, feature_channels: int, channels: dict[int, int]) -> None:
        super().__init__()
        self.sizes = resolutions(8, render_size)[::-1]
        self.channels = {size: channels[size] for size in self.sizes} | {render_size: feature_channels}
        self.first = ConvLayer(feature_channels + 1, feature_channels, 3)
        self.down = nn.ModuleDict({str(size): ResBlock(self.channels[size * 2], self.channels[size]) for size in self.sizes[1:]})

    def forward(self, feature_image: Float[Tensor, 'batch channel size size'], mask: Float[Tensor, 'batch 1 size size']) -> Features:
        """Return F_3D^i: a dictionary from size in pixels, `render_size` halved down to 8, to the feature map of that size.

        `mask` is 1 where EG3D rendered the feature image, and 0 outside of its crop, where the feature image is 0. The first convolution
        takes it as one more channel.
        """
        x = self.first(torch.cat([feature_image, mask.to(feature_image.dtype)], dim=1))
        features = {self.sizes[0]: x}
        for size in self.sizes[1:]:
            x = features[size] = self.down[str(size)](x)
        return features


class UpsampledCode(nn.Module):
    """Replaces `Pyramid3D` where the 3D prior is switched off (table 2): Z_2D, upsampled bilinearly to each of `sizes`."""

    def __init__(self, *, sizes: Sequence[int], channels: int) -> None:
        super().__init__()
        self.channels = dict.fromkeys(sizes, channels)

    def forward(self, z_2d: Float[Tensor, 'batch channel 4 4']) -> Features:
        return {size: F.interpolate(z_2d, size=(size, size), mode='bilinear', align_corners=False) for size in self.channels}


class SkipFusion(nn.Module):
    """Fuses F_3D^i with the decoder's feature of the same size: concatenation and two convolutions."""

    def __init__(self, channels: int, channels_3d: int) -> None:
        super().__init__()
        self.conv1 = ConvLayer(channels + channels_3d, channels, 3)
        self.conv2 = ConvLayer(channels, channels, 3)

    def forward(self, x: Tensor, features_3d: Tensor) -> Tensor:
        return self.conv2(self.conv1(torch.cat([x, features_3d], dim=1)))


class Decoder2D(nn.Module):
    """Decodes Z_2D with the skips of Enc_2D and F_3D^i into the features F~_3D^i at 8, 16, ..., `out_size`.

    `channels` are the channels of F~_3D^i by size, `channels_3d` those of F_3D^i. `to_rgb` turns each F~_3D^i into an image I_3D^i.
    """

    def __init__(self, *, out_size: int, channels: dict[int, int], channels_3d: dict[int, int]) -> None:
        super().__init__()
        self.sizes = resolutions(8, out_size)
        self.up = nn.ModuleDict({str(size): ResBlock(channels[size // 2], channels[size], 'up') for size in self.sizes})
        self.join = nn.ModuleDict({str(size): SkipFusion(channels[size], channels_3d[size]) for size in self.sizes if size in channels_3d})
        self.to_rgb = nn.ModuleDict({str(size): ConvLayer(channels[size], 3, 1, activate=False) for size in self.sizes})

    def forward(self, z_2d: Float[Tensor, 'batch channel 4 4'], skips: Features, pyramid: Features) -> Features:
        """Return F~_3D^i: a dictionary from size in pixels, 8 to `out_size`, to the feature map of that size.

        `skips` are the features of Enc_2D, and `pyramid` is F_3D^i, which may lack the finest sizes; both have sizes as keys, too.
        """
        x, decoded = z_2d, {}
        for size in self.sizes:
            x = self.up[str(size)](x) + skips[size]
            if size in pyramid:
                x = self.join[str(size)](x, pyramid[size])
            decoded[size] = x
        return decoded

    def images(self, decoded: Features) -> tuple[Tensor, ...]:
        """Turn F~_3D^i into the images I_3D^i, coarse to fine; RGB, about [-1, 1], not clamped."""
        return tuple(self.to_rgb[str(size)](decoded[size]) for size in self.sizes)

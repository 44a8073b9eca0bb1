"""The 2D prior: StyleGAN2, the frozen texture branch of FREx (figure 2).

Parameters have BasicSR's names, so that `StyleGAN2_512_Cmul1_FFHQ` loads as it is. Synthesis can be run step by step, `upsample` and then
`refine` at each resolution, because FREx fuses the two priors between these steps.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from frex_arch.blocks import ActivationBias
from frex_arch.ops import (
    MAX_CHANNELS,
    SQRT_2,
    EqualLinear,
    ModulatedConv2d,
    Noise,
    check_int,
    layer_noise,
    leaky_relu_,
    normalize_second_moment,
    resolutions,
    stylegan2_channels,
)
from frex_arch.resampling import Upsample


def check_channels(channels: Mapping[int, int], out_size: int) -> None:
    """Raise ValueError unless `channels` has a number above 0 for each size 4, 8, ..., `out_size`."""
    missing = [size for size in resolutions(4, out_size) if not channels.get(size)]
    if missing:
        sizes = resolutions(4, out_size)
        raise ValueError(f'channels: none at {missing[0]} x {missing[0]}; give one number each for {sizes}, or a greater (encoder_)narrow')


# `ws.unbind(dim=1)`, one w for each layer. The gradient of each slice of `ws` would be as large as `ws`; `unbind` has one for all.
Codes = Sequence[Float[Tensor, 'batch w']]


class NormalizeStyle(nn.Module):
    """The first layer of the mapping network: scales each z to a mean square of 1."""

    def forward(self, z: Float[Tensor, 'batch channel']) -> Float[Tensor, 'batch channel']:
        return normalize_second_moment(z)


class ConstantInput(nn.Module):
    """The learned 4 x 4 feature that synthesis starts from."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, channels, 4, 4))


class StyleConv(nn.Module):
    """Modulated 3 x 3 convolution, noise, bias and leaky ReLU; `weight` is the strength of the noise."""

    def __init__(self, in_channels: int, out_channels: int, style_dim: int, *, upsample: bool = False) -> None:
        super().__init__()
        self.modulated_conv = ModulatedConv2d(in_channels, out_channels, 3, style_dim, upsample=upsample)
        self.weight = nn.Parameter(torch.zeros(1))
        self.activate = ActivationBias(out_channels)

    def forward(self, x: Tensor, style: Float[Tensor, 'batch style_dim'], noise: Tensor | None) -> Tensor:
        x = self.modulated_conv(x, style, self.activate.bias, SQRT_2)
        if noise is not None:
            x.add_((self.weight * SQRT_2 * noise).to(x.dtype))
        return leaky_relu_(x)


class ToRGB(nn.Module):
    """Turns a feature into RGB by a modulated 1 x 1 convolution, and adds the image of the next coarser resolution, upsampled."""

    def __init__(self, in_channels: int, style_dim: int) -> None:
        super().__init__()
        self.modulated_conv = ModulatedConv2d(in_channels, 3, 1, style_dim, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))
        self.enlarge = Upsample(3)

    def forward(self, x: Tensor, style: Float[Tensor, 'batch style_dim'], image: Tensor | None) -> Float[Tensor, 'batch 3 height width']:
        colours = self.modulated_conv(x, style, self.bias.flatten())
        return colours if image is None else colours + self.enlarge(image)


class StyleGAN2(nn.Module):
    """StyleGAN2's generator, untrained; by default with the sizes of the 512 x 512 FFHQ prior of GFPGAN.

    `channel_multiplier`, `narrow` and `channels` are arguments of `stylegan2_channels`; `num_mlp` is the number of layers of the mapping
    network, `lr_mlp` their learning rate multiplier. Raises ValueError for sizes, channels, `num_style_feat` and `num_mlp` out of range.

    Of the latent codes in W+, (batch, num_ws, num_style_feat), the first convolution takes code 0 and its toRGB code 1. Then each
    resolution takes three: two for its convolutions, the first of which the previous toRGB shares, and one for its toRGB. In all methods
    `codes` is `ws.unbind(dim=1)`, and `noise` and `generator` are as in `layer_noise`.
    """

    def __init__(
        self,
        *,
        out_size: int = 512,
        num_style_feat: int = 512,
        num_mlp: int = 8,
        channel_multiplier: float = 1,
        narrow: float = 1,
        channels: Sequence[int] | None = None,
        lr_mlp: float = 0.01,
    ) -> None:
        super().__init__()
        self.sizes = resolutions(8, out_size)
        check_int('num_style_feat', num_style_feat, 1, MAX_CHANNELS)
        check_int('num_mlp', num_mlp, 1, 64)
        self.num_ws = 2 * len(self.sizes) + 2
        self.num_style_feat = num_style_feat
        self.channels = stylegan2_channels(channel_multiplier, narrow, channels)
        check_channels(self.channels, out_size)
        layers = [EqualLinear(num_style_feat, num_style_feat, lr_mul=lr_mlp, activate=True) for _ in range(num_mlp)]
        self.style_mlp = nn.Sequential(NormalizeStyle(), *layers)

        self.constant_input = ConstantInput(self.channels[4])
        self.style_conv1 = StyleConv(self.channels[4], self.channels[4], num_style_feat)
        self.to_rgb1 = ToRGB(self.channels[4], num_style_feat)
        self.style_convs = nn.ModuleList()
        self.to_rgbs = nn.ModuleList()
        for size in self.sizes:
            coarse, fine = self.channels[size // 2], self.channels[size]
            self.style_convs.append(StyleConv(coarse, fine, num_style_feat, upsample=True))
            self.style_convs.append(StyleConv(fine, fine, num_style_feat))
            self.to_rgbs.append(ToRGB(fine, num_style_feat))
        self.noises = nn.Module()
        for layer, size in enumerate([4, *(size for size in self.sizes for _ in range(2))]):
            self.noises.register_buffer(f'noise{layer}', torch.randn(1, 1, size, size))

    def mapping(
        self, z: Float[Tensor, 'batch z'], truncation: float = 1.0, truncation_latent: Float[Tensor, '#batch w'] | None = None
    ) -> Float[Tensor, 'batch num_ws w']:
        """Map normally distributed `z` to latent codes; a `truncation` below 1 moves them towards `truncation_latent`, the mean w.

        Raises ValueError where `truncation` is below 1 and there is no `truncation_latent`.
        """
        w = self.style_mlp(z)
        if truncation < 1:
            if truncation_latent is None:
                raise ValueError(f'truncation {truncation} needs a truncation_latent to draw towards')
            w = truncation_latent + truncation * (w - truncation_latent)
        return w[:, None].expand(-1, self.num_ws, -1)

    def start(
        self, codes: Codes, noise: Noise = 'const', generator: Generator | None = None
    ) -> tuple[Float[Tensor, 'batch channel 4 4'], Float[Tensor, 'batch 3 4 4']]:
        """Return the feature and the image at 4 x 4; raise ValueError unless `codes` has `num_ws` elements, as `ws.unbind(dim=1)` has."""
        if len(codes) != self.num_ws:
            raise ValueError(f'{len(codes)} codes instead of {self.num_ws}: give ws.unbind(dim=1)')
        x = self.constant_input.weight.expand(codes[0].shape[0], -1, -1, -1)
        x = self.style_conv1(x, codes[0], self._noise(0, codes[0].shape[0], noise, generator))
        return x, self.to_rgb1(x, codes[1], None)

    def upsample(
        self,
        size: int,
        feature: Float[Tensor, 'batch coarse half half'],
        codes: Codes,
        noise: Noise = 'const',
        generator: Generator | None = None,
    ) -> Float[Tensor, 'batch fine full full']:
        """Apply the first convolution of resolution `size` to the feature of half that size; the result is F_2D^i (FREx, Eq. 6)."""
        layer = 2 * self._level(size)
        return self.style_convs[layer](feature, codes[layer + 1], self._noise(layer + 1, codes[0].shape[0], noise, generator))

    def refine(
        self,
        size: int,
        feature: Float[Tensor, 'batch channel full full'],
        image: Float[Tensor, 'batch 3 half half'],
        codes: Codes,
        noise: Noise = 'const',
        generator: Generator | None = None,
    ) -> tuple[Float[Tensor, 'batch channel full full'], Float[Tensor, 'batch 3 full full']]:
        """Apply the second convolution and toRGB of resolution `size`, and return feature and image; `image` is that of half the size."""
        level = self._level(size)
        layer = 2 * level + 1
        feature = self.style_convs[layer](feature, codes[layer + 1], self._noise(layer + 1, codes[0].shape[0], noise, generator))
        return feature, self.to_rgbs[level](feature, codes[layer + 2], image)

    def forward(
        self, ws: Float[Tensor, 'batch num_ws w'], noise: Noise = 'const', generator: Generator | None = None
    ) -> Float[Tensor, 'batch 3 height width']:
        """Generate images from latent codes in W+; RGB, about [-1, 1], not clamped."""
        codes = ws.unbind(dim=1)
        feature, image = self.start(codes, noise, generator)
        for size in self.sizes:
            feature = self.upsample(size, feature, codes, noise, generator)
            feature, image = self.refine(size, feature, image, codes, noise, generator)
        return image

    def _level(self, size: int) -> int:
        return int(math.log2(size)) - 3

    def _noise(self, layer: int, batch: int, noise: Noise, generator: Generator | None) -> Tensor | None:
        return layer_noise(getattr(self.noises, f'noise{layer}'), batch, noise, generator)

"""The critics of training, which return logits that are positive for what is real.

StyleGAN2's judges the decoder's images, one critic for each size (FREx, Eq. 5), and the result together with the degraded face (Eq. 15),
which the caller concatenates. A multi-layer perceptron judges latent codes in stage A (Eq. 11).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from frex_arch.blocks import ConvLayer, ResBlock
from frex_arch.ops import MAX_CHANNELS, EqualLinear, check_int, resolutions, stylegan2_channels
from frex_arch.stylegan2 import check_channels


def append_minibatch_stddev(x: Float[Tensor, 'batch channel height width'], group: int = 4) -> Float[Tensor, 'batch more height width']:
    """Append StyleGAN2's minibatch standard deviation to `x` as one more channel.

    The batch is divided into n groups of `group` samples, or of the largest smaller number that divides it; samples i, i + n, i + 2 n, ...
    form a group. The channel holds one number for each group: the standard deviation over its samples, averaged over channels and pixels.
    """
    batch, channels, height, width = x.shape
    group = max(size for size in range(1, group + 1) if batch % size == 0)
    grouped = x.reshape(group, batch // group, channels, height, width)
    deviation = (grouped.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3))
    channel = deviation.repeat(group)[:, None, None, None].expand(-1, 1, height, width)
    return torch.cat([x, channel], dim=1)


class StyleGAN2Discriminator(nn.Module):
    """StyleGAN2's critic for square images of `out_size` pixels, with BasicSR's parameter names.

    `channel_multiplier`, `narrow` and `channels` are arguments of `stylegan2_channels`.
    """

    def __init__(
        self,
        *,
        out_size: int,
        channel_multiplier: float = 1,
        narrow: float = 1,
        channels: Sequence[int] | None = None,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        by_size = stylegan2_channels(channel_multiplier, narrow, channels)
        check_channels(by_size, out_size)
        sizes = resolutions(4, out_size)[::-1]
        blocks = [ResBlock(by_size[size], by_size[size // 2]) for size in sizes[:-1]]
        self.conv_body = nn.Sequential(ConvLayer(in_channels, by_size[out_size], 1), *blocks)
        self.final_conv = ConvLayer(by_size[4] + 1, by_size[4], 3)
        self.final_linear = nn.Sequential(
            EqualLinear(by_size[4] * 4 * 4, by_size[4], activate=True),
            EqualLinear(by_size[4], 1),
        )

    def forward(self, image: Float[Tensor, 'batch channel size size'], joined: int = 1) -> Float[Tensor, 'batch 1']:
        """Return one logit for each image, positive for a real one.

        `image` may be a concatenation of `joined` batches of equal length, for example real and fake; each has a minibatch standard
        deviation of its own.
        """
        batches = self.conv_body(image).chunk(joined)
        x = self.final_conv(torch.cat([append_minibatch_stddev(batch) for batch in batches]))
        return self.final_linear(x.flatten(1))


class DualDiscriminator(StyleGAN2Discriminator):
    """Critic of an image together with the degraded one, concatenated in this order to six channels (FREx, Eq. 15)."""

    def __init__(self, *, out_size: int, channel_multiplier: float = 1, narrow: float = 1, channels: Sequence[int] | None = None) -> None:
        super().__init__(out_size=out_size, channel_multiplier=channel_multiplier, narrow=narrow, channels=channels, in_channels=6)


class MultiScaleDiscriminator(nn.ModuleDict):
    """One critic for each of the decoder's images I_3D^i whose size is in `sizes` (FREx, Eq. 5)."""

    def __init__(
        self, *, sizes: Sequence[int], channel_multiplier: float = 1, narrow: float = 1, channels: Sequence[int] | None = None
    ) -> None:
        critics = {
            str(size): StyleGAN2Discriminator(out_size=size, channel_multiplier=channel_multiplier, narrow=narrow, channels=channels)
            for size in sizes
        }
        super().__init__(critics)
        self.sizes = tuple(sizes)

    def forward(self, *images: Float[Tensor, 'batch 3 _ _'], joined: int = 1) -> Float[Tensor, 'batch scales']:
        """Return one column of logits for each image; `images` are in the order of `sizes`, `joined` as for `StyleGAN2Discriminator`."""
        return torch.cat([self[str(size)](image, joined) for size, image in zip(self.sizes, images, strict=True)], dim=1)


class LatentDiscriminator(nn.Module):
    """Critic of single latent codes w in stage A: the multi-layer perceptron of e4e (Tov et al. 2021)."""

    def __init__(self, *, w_dim: int = 512, num_layers: int = 4) -> None:
        super().__init__()
        check_int('w_dim', w_dim, 1, MAX_CHANNELS)
        check_int('num_layers', num_layers, 1, 64)
        hidden = [EqualLinear(w_dim, w_dim, activate=True) for _ in range(num_layers - 1)]
        self.layers = nn.Sequential(*hidden, EqualLinear(w_dim, 1))

    def forward(self, w: Float[Tensor, 'batch w'], joined: int = 1) -> Float[Tensor, 'batch 1']:
        """Return one logit for each code, positive for codes of the mapping network.

        `joined` has no effect, since the codes of a batch do not influence each other; it exists so that all critics are called alike.
        """
        return self.layers(w)

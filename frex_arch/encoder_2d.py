"""Enc_2D, the encoder of the degraded face (FREx, Eq. 3)."""

from jaxtyping import Float
from torch import Tensor, nn

from frex_arch.blocks import ConvLayer, Features, ResBlock
from frex_arch.ops import EqualLinear, resolutions


class Encoder2D(nn.Module):
    """Encodes a degraded face as Z_2D, a skip feature for each size from `out_size` down to 4, and the 2D prior's codes in W+.

    `channels` are the channels of the features by size.
    """

    def __init__(self, *, out_size: int, channels: dict[int, int], num_ws: int, w_dim: int) -> None:
        super().__init__()
        self.sizes = resolutions(4, out_size)[::-1]
        self.num_ws = num_ws
        self.from_rgb = ConvLayer(3, channels[out_size], 1)
        self.down = nn.ModuleDict({str(size): ResBlock(channels[size * 2], channels[size]) for size in self.sizes[1:]})
        self.final = ConvLayer(channels[4], channels[4], 3)
        self.to_ws = EqualLinear(channels[4] * 4 * 4, num_ws * w_dim)

    def forward(
        self, lq: Float[Tensor, 'batch 3 out_size out_size']
    ) -> tuple[Float[Tensor, 'batch channel 4 4'], Features, Float[Tensor, 'batch num_ws w']]:
        """Return Z_2D, the skip features and the latent codes of the degraded face `lq`, RGB in [-1, 1].

        The skip features are a dictionary from size in pixels, `out_size` halved down to 4, to the feature map of that size.
        """
        x = self.from_rgb(lq)
        skips = {self.sizes[0]: x}
        for size in self.sizes[1:]:
            x = skips[size] = self.down[str(size)](x)
        z_2d = self.final(x)
        return z_2d, skips, self.to_ws(z_2d.flatten(1)).unflatten(1, (self.num_ws, -1))

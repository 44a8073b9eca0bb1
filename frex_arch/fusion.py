"""Fusion of the two priors' features of one size: the Adaptive Weighting Block (AWB) and cross-attention (FREx, figure 3)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from frex_arch.camera import CAMERA_DIM, Camera
from frex_arch.cpu.attention import small_window_attention
from frex_arch.cpu.rules import cpu_fast_path
from frex_arch.ops import SQRT_2, ModulatedConv2d, leaky_relu_

FREQUENCIES = (1.0, 2.0, 4.0, 8.0)
EMBEDDING_DIM = CAMERA_DIM * (1 + 2 * len(FREQUENCIES))

# Side of the windows in pixels where attention is not global.
WINDOW = 8

# (query, key, value) -> result; each is (windows, heads, tokens, channels of a head).
Attention = Callable[[Tensor, Tensor, Tensor], Tensor]

# CUDA's attention kernels fail at 65,536 windows (pytorch issue 146704), which 16 faces of 512 pixels have; longer batches are split.
MOST_WINDOWS = 32768


def embed_camera(camera: Camera) -> Float[Tensor, 'batch 225']:
    """Return Embed(P): the camera's 25 numbers, then their sines and their cosines at the frequencies 1, 2, 4 and 8 (NeRF, Eq. 4)."""
    angles = torch.cat([camera * frequency for frequency in FREQUENCIES], dim=1)
    return torch.cat([camera, angles.sin(), angles.cos()], dim=1)


class AdaptiveWeighting(nn.Module):
    """The Adaptive Weighting Block (Eqs. 7, 8): scales and shifts the 2D prior's feature by alpha and beta.

    Both are predicted from the 3D features by convolutions that the embedded camera modulates. Before training alpha is 1 and beta 0.
    """

    def __init__(self, channels_2d: int, channels_3d: int) -> None:
        super().__init__()
        self.conv1 = ModulatedConv2d(channels_3d, channels_3d, 3, EMBEDDING_DIM)
        self.bias1 = nn.Parameter(torch.zeros(channels_3d))
        # Not demodulated: that would divide the weights, which start at zero, by their own norm.
        self.conv2 = ModulatedConv2d(channels_3d, 2 * channels_2d, 3, EMBEDDING_DIM, demodulate=False)
        nn.init.zeros_(self.conv2.weight)
        self.bias2 = nn.Parameter(torch.cat([torch.ones(channels_2d), torch.zeros(channels_2d)])[:, None, None])

    def modulation(
        self, features_3d: Float[Tensor, 'batch channels_3d size size'], embedding: Float[Tensor, 'batch 225']
    ) -> tuple[Float[Tensor, 'batch channels_2d size size'], Float[Tensor, 'batch channels_2d size size']]:
        """Return alpha and beta (Eq. 7); `embedding` is that of `embed_camera`."""
        x = leaky_relu_(self.conv1(features_3d, embedding, self.bias1, SQRT_2))
        alpha, beta = self.conv2(x, embedding, self.bias2.flatten()).chunk(2, dim=1)
        return alpha, beta

    def forward(
        self,
        features_2d: Float[Tensor, 'batch channels_2d size size'],
        features_3d: Float[Tensor, 'batch channels_3d size size'],
        embedding: Float[Tensor, 'batch 225'],
    ) -> Float[Tensor, 'batch channels_2d size size']:
        """Return F_hidden = alpha * F_2D + beta (Eq. 8), with alpha and beta of `modulation`; `embedding` is that of `embed_camera`."""
        alpha, beta = self.modulation(features_3d, embedding)
        return torch.addcmul(beta, alpha, features_2d)


class ConcatFusion(nn.Module):
    """Replaces the AWB where it is switched off (table 2): concatenates and convolves, which before training returns the 2D features.

    The camera's embedding is not used.
    """

    def __init__(self, channels_2d: int, channels_3d: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_2d + channels_3d, channels_2d, 3, padding=1)
        nn.init.dirac_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]

    def forward(self, features_2d: Tensor, features_3d: Tensor, embedding: Tensor) -> Tensor:
        return self.conv(torch.cat([features_2d, features_3d], dim=1))


def chunked_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Apply `scaled_dot_product_attention` to (windows, heads, tokens, channels of a head), at most `MOST_WINDOWS` windows at a time."""
    if torch.compiler.is_compiling() or len(query) <= MOST_WINDOWS:
        return F.scaled_dot_product_attention(query, key, value)
    chunks = zip(query.split(MOST_WINDOWS), key.split(MOST_WINDOWS), value.split(MOST_WINDOWS), strict=True)
    return torch.cat([F.scaled_dot_product_attention(*chunk) for chunk in chunks])


class CrossAttention(nn.Module):
    """Residual cross-attention (Eq. 9) from F_hidden (queries) to the 3D features (keys and values); before training it adds 0.

    In features up to `global_size` pixels wide each pixel attends to all pixels, in larger ones to those of its 8 x 8 window. Raises
    ValueError where `heads` does not divide `channels_2d`.
    """

    def __init__(self, channels_2d: int, channels_3d: int, global_size: int, heads: int = 4) -> None:
        super().__init__()
        if channels_2d % heads:
            raise ValueError(f'{heads} heads of attention do not divide {channels_2d} channels: make `narrow` larger')
        self.global_size = global_size
        self.heads = heads
        self.norm_query = nn.LayerNorm(channels_2d)
        self.norm_key = nn.LayerNorm(channels_3d)
        self.to_query = nn.Linear(channels_2d, channels_2d, bias=False)
        self.to_key = nn.Linear(channels_3d, channels_2d, bias=False)
        self.to_value = nn.Linear(channels_3d, channels_2d, bias=False)
        self.to_output = nn.Linear(channels_2d, channels_2d)
        nn.init.zeros_(self.to_output.weight)
        nn.init.zeros_(self.to_output.bias)

    def forward(
        self, hidden: Float[Tensor, 'batch channels_2d size size'], features_3d: Float[Tensor, 'batch channels_3d size size']
    ) -> Float[Tensor, 'batch channels_2d size size']:
        """Return F_out (Eq. 9)."""
        size = hidden.shape[-1]
        if size <= self.global_size:
            return self._attend(hidden, features_3d, size)
        if not cpu_fast_path(hidden):
            return self._attend(hidden, features_3d, WINDOW, attention=chunked_attention)
        # One row of windows at a time, so that its tensors stay in the cache.
        rows = zip(hidden.split(WINDOW, dim=2), features_3d.split(WINDOW, dim=2), strict=True)
        return torch.cat([self._attend(*row, WINDOW, attention=small_window_attention) for row in rows], dim=2)

    def _attend(
        self,
        hidden: Float[Tensor, 'batch channels_2d height width'],
        features_3d: Float[Tensor, 'batch channels_3d height width'],
        window: int,
        attention: Attention = F.scaled_dot_product_attention,
    ) -> Float[Tensor, 'batch channels_2d height width']:
        """Return `hidden` plus the attention of its tokens to those of `features_3d` in the same `window` x `window` window."""
        query = self.norm_query(_to_windows(hidden, window))
        key = self.norm_key(_to_windows(features_3d, window))
        result = attention(
            self._split_heads(self.to_query(query)), self._split_heads(self.to_key(key)), self._split_heads(self.to_value(key))
        )
        result = self.to_output(rearrange(result, 'n head token c -> n token (head c)'))
        # In channels-last order, in which a window's rows of tokens are copied whole.
        result = rearrange(result, '(b y x) (h w) c -> b (y h) (x w) c', y=hidden.shape[2] // window, x=hidden.shape[3] // window, h=window)
        return hidden + result.movedim(3, 1)

    def _split_heads(self, tokens: Float[Tensor, 'windows tokens channel']) -> Float[Tensor, 'windows heads tokens part']:
        return rearrange(tokens, 'n token (head c) -> n head token c', head=self.heads)


def _to_windows(feature: Float[Tensor, 'batch channel height width'], window: int) -> Float[Tensor, 'windows tokens channel']:
    return rearrange(feature, 'b c (y h) (x w) -> (b y x) (h w) c', h=window, w=window)


class Fusion(nn.Module):
    """Fuses F_2D^i and F~_3D^i of one size into F_out^i (Eqs. 7-9); `use_awb` and `use_cross_attention` are switches of table 2."""

    def __init__(
        self,
        channels_2d: int,
        channels_3d: int,
        *,
        use_awb: bool = True,
        use_cross_attention: bool = True,
        global_attention_size: int = 64,
    ) -> None:
        super().__init__()
        self.weighting = AdaptiveWeighting(channels_2d, channels_3d) if use_awb else ConcatFusion(channels_2d, channels_3d)
        self.attention = CrossAttention(channels_2d, channels_3d, global_attention_size) if use_cross_attention else None

    def forward(
        self,
        features_2d: Float[Tensor, 'batch channels_2d size size'],
        features_3d: Float[Tensor, 'batch channels_3d size size'],
        embedding: Float[Tensor, 'batch 225'],
    ) -> Float[Tensor, 'batch channels_2d size size']:
        hidden = self.weighting(features_2d, features_3d, embedding)
        return hidden if self.attention is None else self.attention(hidden, features_3d)

"""Enc_3D, which predicts latent codes for the 3D prior and the camera from a degraded face in EG3D's crop (FREx, Eq. 1)."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models.swin_transformer import SwinTransformer

from frex_arch.camera import FFHQ_RADIUS, Camera, ffhq_intrinsics, pack_camera, pack_pose, rotation_from_6d
from frex_arch.ops import check_int
from frex_arch.swin import SwinBlock, SwinPatchMerging, SwinStage, cast_all, compute_dtype

# torchvision's SwinV2 configurations, so that its ImageNet weights fit. `nano` is our own, for tests and the demo.
BACKBONES: dict[str, dict[str, Any]] = {
    'swin_v2_nano': {'embed_dim': 24, 'depths': [1, 1, 1, 1], 'num_heads': [1, 2, 4, 8], 'window_size': [4, 4]},
    'swin_v2_t': {'embed_dim': 96, 'depths': [2, 2, 6, 2], 'num_heads': [3, 6, 12, 24], 'window_size': [8, 8]},
    'swin_v2_s': {'embed_dim': 96, 'depths': [2, 2, 18, 2], 'num_heads': [3, 6, 12, 24], 'window_size': [8, 8]},
    'swin_v2_b': {'embed_dim': 128, 'depths': [2, 2, 18, 2], 'num_heads': [4, 8, 16, 32], 'window_size': [8, 8]},
}

# The offsets of latent codes 1-3 come from deep tokens, those of 4-6 from middle ones, the others from shallow ones; code 0 has none.
COARSE, MIDDLE = slice(1, 4), slice(4, 7)

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# The first two columns of the frontal camera's rotation: right is the world's +x, down its -y.
FRONTAL_ROTATION_6D = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)


class Encoding3D(NamedTuple):
    """The prediction of Enc_3D: the base code Z_3D, the offsets Z_bar of all codes (that of the first is 0), and the camera P.

    `z_3d` and `offsets` are relative to EG3D's `w_avg` (see `latent_codes`), and None where the 3D prior is switched off.
    """

    z_3d: Float[Tensor, 'batch w'] | None
    offsets: Float[Tensor, 'batch num_ws w'] | None
    camera: Camera


class ImageNetNormalization(nn.Module):
    """Turns RGB in [-1, 1] into the input of torchvision's networks: mean 0 and standard deviation 1 over ImageNet in each channel."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Both constants hold for RGB in [0, 1].
        self.register_buffer('mean', torch.tensor(IMAGENET_MEAN).view(3, 1, 1) * 2 - 1, persistent=False)
        self.register_buffer('std', torch.tensor(IMAGENET_STD).view(3, 1, 1) * 2, persistent=False)

    def forward(self, image: Float[Tensor, 'batch 3 height width']) -> Float[Tensor, 'batch 3 height width']:
        return (image - self.mean) / self.std


class SwinBackbone(nn.Module):
    """torchvision's SwinV2 without its classifier. `name` is a key of `BACKBONES`; `in_size` is the usual image size, others work too."""

    def __init__(self, name: str, in_size: int) -> None:
        super().__init__()
        if name not in BACKBONES:
            raise ValueError(f'unknown backbone {name!r}: choose one of {", ".join(BACKBONES)}')
        config = BACKBONES[name]
        # No stochastic depth: the paper regularises by its priors, and without it training draws nothing here.
        self.swin = SwinTransformer(
            patch_size=[4, 4],
            stochastic_depth_prob=0.0,
            block=SwinBlock,
            downsample_layer=SwinPatchMerging,
            **config,
        )
        del self.swin.norm, self.swin.head
        # Layer 0 embeds patches of 4 x 4 pixels; then stages (odd) and layers that halve the size (even) alternate.
        size = in_size // 4
        for layer in (1, 3, 5, 7):
            self.swin.features[layer] = SwinStage([*self.swin.features[layer]], size)
            size = -(-size // 2)
        self.channels = [config['embed_dim'] * 2**stage for stage in (1, 2, 3)]
        self.normalize = ImageNetNormalization()

    def forward(self, image: Float[Tensor, 'batch 3 size size']) -> list[Float[Tensor, 'batch tokens channel']]:
        """Return shallow, middle and deep tokens, at strides 8, 16 and 32, of an RGB image in [-1, 1]."""
        scales = []
        x = self.normalize(image)
        for layer, module in enumerate(self.swin.features):
            x = module(x)
            if layer in (3, 5, 7):
                scales.append(x.flatten(1, 2))
        return scales


def zero_initialized_linear(in_features: int, out_features: int) -> nn.Linear:
    """Return a dense layer whose output is 0 until it is trained."""
    layer = nn.Linear(in_features, out_features)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class OffsetHead(nn.Module):
    """Predicts the offsets of `num_codes` latent codes, by cross-attention from one learned query per code to the tokens of one scale.

    All offsets are 0 before training.
    """

    def __init__(self, num_codes: int, token_channels: int, w_dim: int, heads: int = 4, mlp_dim: int = 1024) -> None:
        super().__init__()
        if w_dim % heads:
            raise ValueError(f'{heads} heads of attention do not divide w_dim {w_dim}')
        self.queries = nn.Parameter(torch.randn(num_codes, w_dim) * 0.02)
        self.tokens = nn.Sequential(nn.Linear(token_channels, w_dim), nn.LayerNorm(w_dim))
        self.norm_query = nn.LayerNorm(w_dim)
        self.attention = nn.MultiheadAttention(w_dim, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.LayerNorm(w_dim), nn.Linear(w_dim, mlp_dim), nn.GELU(), nn.Linear(mlp_dim, w_dim))
        self.to_offset = zero_initialized_linear(w_dim, w_dim)

    def forward(self, z_3d: Float[Tensor, 'batch w'], tokens: Float[Tensor, 'batch tokens channel']) -> Float[Tensor, 'batch num_codes w']:
        dtype = compute_dtype(tokens)
        queries = self.norm_query(z_3d[:, None] + self.queries)
        with torch.autocast(tokens.device.type, enabled=False):
            weights = cast_all(self._dense_parameters(), dtype)
            to_keys, project, contract, expand, reduce, to_offset = zip(weights[::2], weights[1::2], strict=True)
            keys = self.tokens[1](F.linear(tokens.to(dtype), *to_keys).to(tokens.dtype)).to(dtype)
            x = queries + F.linear(self._attend(queries.to(dtype), keys, *project), *contract)
            hidden = F.gelu(F.linear(self.mlp[0](x).to(dtype), *expand))
            return F.linear((x + F.linear(hidden, *reduce)).to(dtype), *to_offset)

    def _dense_parameters(self) -> list[Tensor]:
        """Return weight and bias of each dense layer, in the order of use, which `forward` casts to autocast's dtype in one step."""
        attention = self.attention
        dense: list[Any] = [attention.out_proj, self.mlp[1], self.mlp[3], self.to_offset]
        first: Any = self.tokens[0]
        pairs = [
            (first.weight, first.bias),
            (attention.in_proj_weight, attention.in_proj_bias),
            *((layer.weight, layer.bias) for layer in dense),
        ]
        return [tensor for pair in pairs for tensor in pair]

    def _attend(
        self,
        queries: Float[Tensor, 'batch num_codes w'],
        keys: Float[Tensor, 'batch tokens w'],
        weight: Float[Tensor, 'projected w'],
        bias: Float[Tensor, ' projected'],
    ) -> Float[Tensor, 'batch num_codes w']:
        """Compute `nn.MultiheadAttention` without its output layer, from its stacked projections `weight` and `bias`.

        Keys and values are projected in one matrix product.
        """
        width, heads = queries.shape[2], self.attention.num_heads
        (weight_query, weight_key_value), (bias_query, bias_key_value) = (part.split((width, 2 * width)) for part in (weight, bias))
        query = F.linear(queries, weight_query, bias_query).unflatten(2, (heads, -1))
        key, value = F.linear(keys, weight_key_value, bias_key_value).unflatten(2, (2, heads, -1)).unbind(2)
        return F.scaled_dot_product_attention(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)).transpose(1, 2).flatten(2)


class CameraHead(nn.Module):
    """Predicts a camera from the mean of the deepest tokens; before training it is the frontal one.

    The rotation is valid by its 6-d parameters (`rotation_from_6d`), the position is kept at FFHQ's distance from the origin, and the
    intrinsics are FFHQ's.
    """

    intrinsics: Tensor

    def __init__(self, token_channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(token_channels)
        self.linear = nn.Linear(token_channels, 9)
        nn.init.zeros_(self.linear.weight)
        with torch.no_grad():
            self.linear.bias.copy_(torch.tensor([*FRONTAL_ROTATION_6D, 0.0, 0.0, FFHQ_RADIUS]))
        self.register_buffer('intrinsics', ffhq_intrinsics()[None], persistent=False)

    def forward(self, tokens: Float[Tensor, 'batch tokens channel']) -> Camera:
        # Float32 also within autocast, where the camera would be off by pixels.
        with torch.autocast(tokens.device.type, enabled=False):
            numbers = self.linear(self.norm(tokens.float()).mean(dim=1))
            position = FFHQ_RADIUS * F.normalize(numbers[:, 6:], dim=1)
            return pack_camera(pack_pose(rotation_from_6d(numbers[:, :6]), position), self.intrinsics)


class Encoder3D(nn.Module):
    """Enc_3D. With `num_ws` = 0, for a network without a 3D prior, it predicts the camera alone.

    `in_size`, from 32 to 1024, is the width of its input in pixels, `backbone` a key of `BACKBONES`. Raises ValueError for other values of
    the two, and for a `w_dim` that the heads of attention do not divide.
    """

    def __init__(self, *, num_ws: int, w_dim: int, in_size: int = 256, backbone: str = 'swin_v2_b') -> None:
        super().__init__()
        # Each of the deepest tokens covers 32 x 32 pixels.
        self.in_size = check_int('in_size', in_size, 32, 1024)
        self.num_ws = num_ws
        self.backbone = SwinBackbone(backbone, in_size)
        shallow, middle, deep = self.backbone.channels
        self.to_camera = CameraHead(deep)
        if num_ws:
            self.norm_z = nn.LayerNorm(deep)
            self.to_z = zero_initialized_linear(deep, w_dim)
            codes = range(num_ws)
            self.coarse = OffsetHead(len(codes[COARSE]), deep, w_dim)
            self.middle = OffsetHead(len(codes[MIDDLE]), middle, w_dim)
            self.fine = OffsetHead(len(codes[MIDDLE.stop :]), shallow, w_dim)

    def forward(self, face: Float[Tensor, 'batch 3 in_size in_size']) -> Encoding3D:
        """Encode a face, RGB in [-1, 1], in EG3D's crop (`warp_to_crop`)."""
        shallow, middle, deep = self.backbone(face)
        camera = self.to_camera(deep)
        if not self.num_ws:
            return Encoding3D(None, None, camera)
        z_3d = self.to_z(self.norm_z(deep.mean(dim=1)))
        offsets = [self.coarse(z_3d, deep), self.middle(z_3d, middle), self.fine(z_3d, shallow)]
        return Encoding3D(z_3d, torch.cat([torch.zeros_like(z_3d)[:, None], *offsets], dim=1), camera)

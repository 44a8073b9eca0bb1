"""SwinV2 with a third of torchvision's kernel launches, with its parameters, buffers and, up to rounding, results.

Windows are small, so that a GPU would mostly wait for launches. Here what depends on parameters alone (casts to autocast's dtype, position
biases, logit scales) is computed for all blocks of a stage together, the partition into windows is part of a cast or of an addition, and
attention with its bias is one kernel.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformerBlockV2

# The logarithm of the largest factor of cosines in attention, as in SwinV2.
MAX_LOG_SCALE = math.log(100)
# Added to the logits of query and key that only the cyclic shift brought into one window.
MASKED = -100.0
# Prevents a division by zero for the zero keys of padded tokens; far below the mean square of all other keys.
EPS = 1e-20


# --- Windows


class Windows(NamedTuple):
    """The partition of a feature map into windows of `size` (height, width), which divides the map's height and width.

    Only shifted windows have the other fields: `order` has for each token, window after window, its index into the flattened map; `inverse`
    is the inverse permutation; `mask` is added to the logits of attention.
    """

    size: tuple[int, int]
    order: Int[Tensor, ' tokens'] | None = None
    inverse: Int[Tensor, ' tokens'] | None = None
    mask: Float[Tensor, 'windows queries keys'] | None = None


def split_windows(x: Tensor, size: tuple[int, int]) -> Tensor:
    """View (batch, height, width, ...) as (batch, window row, window column, row, column, ...) for windows of `size` (height, width)."""
    return x.unflatten(2, (-1, size[1])).unflatten(1, (-1, size[0])).transpose(2, 3)


def shift_windows(height: int, width: int, size: tuple[int, int], shift: tuple[int, int], device: torch.device | None = None) -> Windows:
    """Return the windows of a `height` x `width` feature map after a cyclic shift, left out along sides that one window covers.

    `size` and `shift` are those of rows and of columns, in tokens; `size` must divide height and width.
    """
    shift = (shift[0] if size[0] < height else 0, shift[1] if size[1] < width else 0)
    if shift == (0, 0):
        return Windows(size)
    rows, columns = (torch.arange(length, device=device) for length in (height, width))
    positions = (rows[:, None] * width + columns).roll((-shift[0], -shift[1]), (0, 1))
    order = split_windows(positions[None], size).flatten()
    # Each side has three regions: all windows but the last, and of the last the tokens that belong there and those shifted in.
    vertical, horizontal = (
        (index >= length - extent).int() + ((index >= length - offset) & (offset > 0)).int()
        for index, length, extent, offset in ((rows, height, size[0], shift[0]), (columns, width, size[1], shift[1]))
    )
    regions = split_windows((vertical[:, None] * 3 + horizontal)[None], size).reshape(-1, size[0] * size[1])
    mask = (regions[:, :, None] != regions[:, None]) * MASKED
    return Windows(size, order, order.argsort(), mask)


def to_tokens(
    x: Float[Tensor, 'batch height width channel'], windows: Windows | None, dtype: torch.dtype
) -> Float[Tensor, 'tokens channel']:
    """Return the tokens of all images of `x` in `dtype`, window after window; with `windows` None row after row."""
    if windows is None:
        return x.to(dtype).flatten(0, 2)
    if windows.order is not None:
        return x.to(dtype).flatten(1, 2).index_select(1, windows.order).flatten(0, 1)
    return split_windows(x, windows.size).to(dtype, memory_format=torch.contiguous_format).reshape(-1, x.shape[-1])


def add_tokens(
    x: Float[Tensor, 'batch height width channel'], tokens: Float[Tensor, 'tokens channel'], windows: Windows | None
) -> Float[Tensor, 'batch height width channel']:
    """Add tokens, in the order of `to_tokens`, to the feature map `x`; the result has the dtype of `x`."""
    if windows is None:
        return x + tokens.view_as(x)
    if windows.inverse is not None:
        # Not `len(x)`, which would be a constant in an exported network.
        return x + tokens.view(x.shape[0], -1, x.shape[-1]).index_select(1, windows.inverse).view_as(x)
    rows = split_windows(x, windows.size)
    # Added window by window but in the memory order of `x`, so that the result needs no copy.
    return (rows + tokens.view_as(rows)).transpose(2, 3).reshape(x.shape)


class _Branch(torch.autograd.Function):
    """Returns `x` and its tokens; the backward pass is one addition instead of a cast, a permutation and an addition."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, windows: Windows | None, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        ctx.windows = windows
        return x.view_as(x), to_tokens(x, windows, dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, grad_tokens: Tensor) -> tuple[Tensor, None, None]:
        return add_tokens(grad, grad_tokens, ctx.windows), None, None


class _Join(torch.autograd.Function):
    """Adds tokens to `x`; the backward pass casts and permutes the tokens' gradient in one step."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, tokens: Tensor, windows: Windows | None) -> Tensor:
        ctx.windows, ctx.dtype = windows, tokens.dtype
        return add_tokens(x, tokens, windows)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        return grad, to_tokens(grad, ctx.windows, ctx.dtype), None


class _Cast(torch.autograd.Function):
    """Casts tensors of one dtype with one kernel, and their gradients with another."""

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.dtype = tensors[0].dtype
        outputs = [torch.empty_like(tensor, dtype=dtype, memory_format=torch.contiguous_format) for tensor in tensors]
        torch._foreach_copy_(outputs, tensors)
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return None, *_Cast.apply(ctx.dtype, *grads)


def has_own_gradients() -> bool:
    """Return whether to use the autograd functions of this module: gradients are recorded, outside of compiled code."""
    return torch.is_grad_enabled() and not torch.compiler.is_compiling()


def branch(x: Tensor, windows: Windows | None, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return `x` for the residual connection, and its tokens in `dtype` for the layers of the residual branch (see `to_tokens`)."""
    return _Branch.apply(x, windows, dtype) if has_own_gradients() else (x, to_tokens(x, windows, dtype))


def join(x: Tensor, tokens: Tensor, windows: Windows | None) -> Tensor:
    """Add the tokens that the residual branch gives to `x` (see `add_tokens`)."""
    return _Join.apply(x, tokens, windows) if has_own_gradients() else add_tokens(x, tokens, windows)


def cast_all(tensors: Sequence[Tensor], dtype: torch.dtype) -> Sequence[Tensor]:
    """Cast tensors, which all have the same dtype, to `dtype`, with as few kernels as possible."""
    if tensors[0].dtype == dtype:
        return tensors
    return [tensor.to(dtype) for tensor in tensors] if torch.compiler.is_compiling() else _Cast.apply(dtype, *tensors)


def compute_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype in which matrix products with `x` are computed: autocast's within autocast, else that of `x`."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


# --- Blocks


class Affine(NamedTuple):
    """Weight and bias of a dense layer."""

    weight: Tensor
    bias: Tensor


class BlockWeights(NamedTuple):
    """What a block computes with, in the dtype of matrix products: the factor of cosines, the position bias, and four dense layers."""

    logit_scale: Float[Tensor, 'heads 1']
    position_bias: Float[Tensor, 'heads queries keys']
    qkv: Affine
    proj: Affine
    expand: Affine
    contract: Affine


def stack_block_weights(blocks: Sequence['SwinBlock'], dtype: torch.dtype) -> list[BlockWeights]:
    """Return what each of `blocks`, which are of one shape, computes with, cast to `dtype`.

    Logit scales and position biases are stacked and computed in float32 for all blocks together, which takes few kernels.
    """
    attentions = [block.attn for block in blocks]
    # In SwinV2 keys have no bias: torchvision sets it to 0.
    query, key, value = torch.stack([attention.qkv.bias for attention in attentions]).chunk(3, dim=1)
    qkv_biases = torch.cat([query, torch.zeros_like(key), value], dim=1)
    scales = torch.stack([attention.logit_scale for attention in attentions]).clamp(max=MAX_LOG_SCALE).exp().flatten(2)
    layers = [layer for block in blocks for layer in (block.attn.proj, block.mlp[0], block.mlp[3])]
    parameters = [attention.qkv.weight for attention in attentions] + [tensor for layer in layers for tensor in (layer.weight, layer.bias)]
    scales, biases, qkv_biases, *rest = cast_all([scales, position_biases(blocks), qkv_biases, *parameters], dtype)
    qkv_weights, rest = rest[: len(blocks)], rest[len(blocks) :]
    qkv = map(Affine, qkv_weights, qkv_biases.unbind())
    dense = [*map(Affine, rest[::2], rest[1::2])]
    return [*map(BlockWeights, scales.unbind(), biases.unbind(), qkv, dense[::3], dense[1::3], dense[2::3])]


def position_biases(blocks: Sequence['SwinBlock']) -> Float[Tensor, 'blocks heads queries keys']:
    """Return each block's relative position bias (SwinV2, section 3.3), which is added to the logits of attention, minus 8.

    16 sigmoid(x) - 8 is computed as 8 tanh(x / 2). Softmax ignores the constant, and numbers around 0 lose less precision in 16 bits.
    """
    attention = blocks[0].attn
    first, last = [block.attn.cpb_mlp[0] for block in blocks], [block.attn.cpb_mlp[2] for block in blocks]
    coords = attention.relative_coords_table.flatten(0, 2).transpose(0, 1).expand(len(blocks), -1, -1)
    biases, weights = torch.stack([layer.bias for layer in first]), torch.stack([layer.weight for layer in first])
    hidden = torch.baddbmm(biases[:, :, None], weights, coords).relu()
    table = torch.bmm(torch.stack([layer.weight for layer in last]), hidden)
    tokens = attention.window_size[0] * attention.window_size[1]
    return (8 * torch.tanh(table / 2)).index_select(2, attention.relative_position_index).unflatten(2, (tokens, tokens))


class SwinBlock(SwinTransformerBlockV2):
    """torchvision's SwinV2 block, computed by `run_blocks`; raises ValueError for dropout or stochastic depth, which it lacks."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.attn.dropout or self.attn.attention_dropout or self.stochastic_depth.p:
            raise ValueError('SwinBlock has neither dropout nor stochastic depth')
        (top, left), (down, across) = self.attn.window_size, self.attn.shift_size
        self.window, self.shift = (top, left), (down, across)

    def forward(self, x: Float[Tensor, 'batch height width channel']) -> Float[Tensor, 'batch height width channel']:
        return run_blocks([self], x)

    def compute(
        self, x: Float[Tensor, 'batch height width channel'], weights: BlockWeights, windows: Windows
    ) -> Float[Tensor, 'batch height width channel']:
        """Apply attention within `windows` and the dense layers, each a residual branch that ends in a layer normalisation.

        `weights` are those of this block (see `stack_block_weights`); attention and dense layers are computed in their dtype, layer
        normalisations and sums in that of `x`. Attention pads `x` with zeros to `padded_size`, the size of the map of `windows`.
        """
        dtype = weights.qkv.weight.dtype
        height, width = x.shape[1:3]
        right, below = -width % windows.size[1], -height % windows.size[0]
        x, tokens = branch(F.pad(x, (0, 0, 0, right, 0, below)) if right or below else x, windows, dtype)
        tokens = self._attend(tokens, weights, windows)
        # Normalised in float32: a gain rounded to 16 bits would err in the same direction for all tokens.
        x = join(x, self.norm1(tokens.to(x.dtype)), windows)
        x, tokens = branch(x[:, :height, :width].contiguous() if right or below else x, None, dtype)
        tokens = F.linear(F.gelu(F.linear(tokens, *weights.expand)), *weights.contract)
        return join(x, self.norm2(tokens.to(x.dtype)), None)

    def _attend(self, tokens: Float[Tensor, 'tokens channel'], weights: BlockWeights, windows: Windows) -> Float[Tensor, 'tokens channel']:
        """Apply cosine attention (SwinV2, Eq. 2) among the tokens of each window, and its output layer."""
        area, heads = windows.size[0] * windows.size[1], self.attn.num_heads
        qkv = F.linear(tokens, *weights.qkv).view(-1, area, 3, heads, tokens.shape[1] // heads)
        channels = qkv.shape[-1]
        # Scaled to a mean square of 1 instead of to length 1; the attention's `scale` of 1 / channels makes up for it.
        query_key, value = qkv.split((2, 1), dim=2)
        query, key = F.rms_norm(query_key, (channels,), eps=EPS).unbind(2)
        query, key, value = (query * weights.logit_scale).transpose(1, 2), key.transpose(1, 2), value.squeeze(2).transpose(1, 2)
        bias = weights.position_bias
        if windows.mask is None:
            bias = bias.expand(qkv.shape[0], -1, -1, -1)
        else:
            mask = windows.mask.to(bias.dtype)[:, None]
            bias = (bias + mask.expand(qkv.shape[0] // mask.shape[0], *mask.shape)).flatten(0, 1)
        result = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=1 / channels)
        return F.linear(result.transpose(1, 2).reshape(tokens.shape), *weights.proj)


def padded_size(height: int, width: int, window: tuple[int, int]) -> tuple[int, int]:
    """Round `height` and `width` up to multiples of those of the window."""
    return height + -height % window[0], width + -width % window[1]


def run_blocks(
    blocks: Sequence[SwinBlock], x: Float[Tensor, 'batch height width channel'], shifted: Windows | None = None
) -> Float[Tensor, 'batch height width channel']:
    """Apply blocks of one shape to `x`; `shifted` are the windows of the blocks with a shift, which are computed if None."""
    dtype = compute_dtype(x)
    with torch.autocast(x.device.type, enabled=False):
        for block, weights in zip(blocks, stack_block_weights(blocks, dtype), strict=True):
            windows = Windows(block.window)
            if block.shift != (0, 0):
                shifted = shifted or shift_windows(*padded_size(x.shape[1], x.shape[2], block.window), block.window, block.shift, x.device)
                windows = shifted
            x = block.compute(x, weights, windows)
    return x


class SwinStage(nn.Sequential):
    """The blocks of one stage. Shifted windows are precomputed for `size` x `size` tokens; for other sizes each call computes them."""

    order: Tensor | None
    inverse: Tensor | None
    mask: Tensor | None

    def __init__(self, blocks: Sequence[SwinBlock], size: int) -> None:
        super().__init__(*blocks)
        self.window = blocks[0].window
        self.padded_size = padded_size(size, size, self.window)
        shift = max(block.shift for block in blocks)
        windows = shift_windows(*self.padded_size, self.window, shift)
        # Not persistent, so that the state dict stays torchvision's.
        for name in ('order', 'inverse', 'mask'):
            self.register_buffer(name, getattr(windows, name), persistent=False)

    def forward(self, x: Float[Tensor, 'batch height width channel']) -> Float[Tensor, 'batch height width channel']:
        """Apply all blocks."""
        is_known = padded_size(x.shape[1], x.shape[2], self.window) == self.padded_size
        return run_blocks([*self], x, Windows(self.window, self.order, self.inverse, self.mask) if is_known else None)


class SwinPatchMerging(PatchMergingV2):
    """Halves height and width and doubles the channels, as in torchvision, with the partition into patches as part of autocast's cast."""

    def forward(self, x: Float[Tensor, 'batch height width channel']) -> Float[Tensor, 'batch half_height half_width out']:
        height, width = x.shape[1:3]
        if height % 2 or width % 2:
            x = F.pad(x, (0, 0, 0, width % 2, 0, height % 2))
        # A patch's columns come before its rows, as in torchvision.
        patches = x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).permute(0, 1, 3, 4, 2, 5)
        return self.norm(self.reduction(patches.to(compute_dtype(x), memory_format=torch.contiguous_format).flatten(3)))

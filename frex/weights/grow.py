"""Grow a trained FREx for `frex weights grow`: weights from which one of twice its image size is trained on (Karras et al. 2018)."""

import copy
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from frex.errors import FRExError
from frex.weights.network_file import NetworkFile, build_frex
from frex_arch import FREx
from frex_arch.ops import SQRT_2, EqualConv2d

# The channels that carry R, G, B, -R, -G and -B through a leaky ReLU without loss.
CARRIERS = 6
# Two leaky ReLUs of slope 0.2 keep a value above 0 and multiply one below 0 by 0.04. Their results for v and -v thus differ by 1.04 v.
DOUBLE_LEAKY = 1.04


def grow(file: NetworkFile, channels: int | None, where: str) -> NetworkFile:
    """Return a FREx of twice the size of the one in `file`, with one more, finest level of `channels` channels.

    All coarser levels keep their weights. Before training the finest level adds nothing: the image is that of the smaller network, enlarged
    by StyleGAN2's filter, and the coarser levels of Enc_2D get what the smaller network gets of the face. `channels` must be given where
    the options list the numbers of channels, and be None where these follow from `narrow`. Other new weights are random; torch's global
    seed is set to 0 for them. Raises FRExError, which starts with `where`, for another network than FREx, for one with `output: conv`, and
    where the channels do not fit.
    """
    small = build_frex(file, where)
    if small.to_image is not None:
        raise FRExError(f'{where}: output: conv makes the image of its finest level alone; grow a network with output: skip')
    arguments = grown_arguments(file.arguments, small.out_size, channels, where)
    torch.manual_seed(0)
    try:
        large = FREx(**arguments)
    except ValueError as error:
        raise FRExError(f'{where}: cannot be grown to {2 * small.out_size} x {2 * small.out_size}: {error}') from None
    with torch.no_grad():
        _copy_equal_shapes(small, large)
        _repeat_last_code(small, large)
        _hand_on_smaller_input(small, large, where)
        _add_nothing(large.stylegan2.to_rgbs[-1])
    return NetworkFile(FREx.__name__, arguments, large.state_dict())


def grown_arguments(arguments: dict[str, Any], out_size: int, channels: int | None, where: str) -> dict[str, Any]:
    """Return a copy of a FREx's constructor arguments for a network of twice its size; `out_size` is its present size in pixels.

    `fusion_sizes`, where given, gets the new size too. `channels` is the number of channels of the new, finest level. It is needed where
    `arguments` list the channels of StyleGAN2, and is appended to that list. It must be None where the channels follow from `narrow`. Else
    this raises FRExError, which starts with `where`.
    """
    grown: dict[str, Any] = copy.deepcopy(arguments) | {'out_size': 2 * out_size}
    listed = (grown.get('stylegan2') or {}).get('channels')
    if (listed is None) != (channels is None):
        needed = '--channels N is needed' if channels is None else 'its widths follow from narrow, leave out --channels'
        raise FRExError(f'{where}: {needed}')
    if listed is not None:
        grown['stylegan2']['channels'] = [*listed[: out_size.bit_length() - 2], channels]
    if grown.get('fusion_sizes') is not None:
        grown['fusion_sizes'] = [*grown['fusion_sizes'], 2 * out_size]
    return grown


def _copy_equal_shapes(small: nn.Module, large: nn.Module) -> None:
    """Copy to `large` all parameters and buffers that `small` has under the same name and in the same shape."""
    state = small.state_dict()
    for name, value in large.state_dict().items():
        if name in state and state[name].shape == value.shape:
            value.copy_(state[name])


def _repeat_last_code(small: FREx, large: FREx) -> None:
    """Let Enc_2D predict the latent code of the smaller network's last toRGB also for all finer layers."""
    missing = large.stylegan2.num_ws - small.stylegan2.num_ws
    old, new = small.encoder_2d.to_ws, large.encoder_2d.to_ws
    for parameter, trained in ((new.weight, old.weight), (new.bias, old.bias)):
        codes = trained.unflatten(0, (small.stylegan2.num_ws, -1))
        parameter.copy_(torch.cat([codes, codes[-1:].expand(missing, *codes.shape[1:])]).flatten(0, 1))


def _hand_on_smaller_input(small: FREx, large: FREx, where: str) -> None:
    """Let the finest block of Enc_2D pass on what the smaller network's first layer computes, of the face low-passed and halved.

    The new first layer computes R, G, B and their negatives. The block's first convolution passes these on, and its second recovers R, G
    and B with the weights and the bias of the smaller network's first layer. All other weights of the second convolution start at 0.
    """
    old, old_bias = _conv_and_bias(small.encoder_2d.from_rgb)
    first, first_bias = _conv_and_bias(large.encoder_2d.from_rgb)
    block: Any = large.encoder_2d.down[str(small.out_size)]
    (second, _), (third, third_bias), (skip, _) = map(_conv_and_bias, (block.conv1, block.conv2, block.skip))
    if len(first.weight) < CARRIERS:
        raise FRExError(f'{where}: {len(first.weight)} channels at {large.out_size} x {large.out_size} are too few; at least {CARRIERS}')
    colours = torch.eye(3)
    _set_centre(first, torch.cat([colours, -colours]) / SQRT_2)
    nn.init.zeros_(first_bias.bias)
    _set_centre(second, torch.eye(CARRIERS) / SQRT_2)
    # In this branch the block's gain, sqrt(1/2), cancels that of the leaky ReLU, sqrt(2). The smaller network's layer has the latter only.
    weight = old.weight[:, :, 0, 0] * (SQRT_2 * old.scale)
    nn.init.zeros_(third.weight)
    _set_centre(third, weight @ torch.cat([colours, -colours], dim=1) / DOUBLE_LEAKY)
    third_bias.bias.copy_(old_bias.bias * SQRT_2)
    nn.init.zeros_(skip.weight)


def _conv_and_bias(layer: nn.Module) -> tuple[EqualConv2d, Any]:
    """Return the convolution of a `ConvLayer` and its last sub-module, which is its `ActivationBias` if it has an activation."""
    parts: list[Any] = [*layer.children()]
    conv = next(part for part in parts if isinstance(part, EqualConv2d))
    return conv, parts[-1]


def _set_centre(conv: EqualConv2d, centre: Float[Tensor, 'out channel']) -> None:
    """Let the first `out` output channels be `centre` times the first input channels of the same pixel: all their other weights become 0.

    Output channels after these keep their weights.
    """
    rows, columns, middle = *centre.shape, conv.weight.shape[-1] // 2
    conv.weight[:rows] = 0
    conv.weight[:rows, :columns, middle, middle] = centre / conv.scale


def _add_nothing(to_rgb: Any) -> None:
    """Let a toRGB layer add 0 to the image of the coarser levels."""
    nn.init.zeros_(to_rgb.modulated_conv.weight)
    nn.init.zeros_(to_rgb.bias)

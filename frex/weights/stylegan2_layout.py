"""Convert state dicts of StyleGAN2 generators of rosinality and of NVIDIA's StyleGAN2-ADA to BasicSR's layout, which is FREx's."""

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

# rosinality's names -> BasicSR's.
ROSINALITY = [
    (re.compile(r'style\.(\d+)\.(weight|bias)'), r'style_mlp.\1.\2'),
    (re.compile(r'input\.input'), r'constant_input.weight'),
    (re.compile(r'conv(1|s\.\d+)\.conv\.(weight|modulation\.\w+)'), r'style_conv\1.modulated_conv.\2'),
    (re.compile(r'conv(1|s\.\d+)\.noise\.weight'), r'style_conv\1.weight'),
    (re.compile(r'conv(1|s\.\d+)\.activate\.bias'), r'style_conv\1.activate.bias'),
    (re.compile(r'to_rgb(1|s\.\d+)\.conv\.(weight|modulation\.\w+)'), r'to_rgb\1.modulated_conv.\2'),
    (re.compile(r'to_rgb(1|s\.\d+)\.bias'), r'to_rgb\1.bias'),
    (re.compile(r'noises\.noise_(\d+)'), r'noises.noise\1'),
]
# Constant resampling filters, which BasicSR's layout lacks.
ROSINALITY_CONSTANTS = re.compile(r'.*\.(blur|upsample)\.kernel')

NVIDIA_LAYER = re.compile(r'synthesis\.b(4|8|16|32|64|128|256|512|1024)\.(conv[01]|torgb)\.(.+)')
# Constant resampling filters and the mean latent code, which BasicSR's layout lacks.
NVIDIA_CONSTANTS = re.compile(r'.*\.resample_filter|mapping\.w_avg')


def arguments_from_shapes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the constructor arguments of `StyleGAN2` for a state dict in BasicSR's layout.

    Raises KeyError for a missing weight, and ValueError where all noise images are missing.
    """
    out_size = max(value.shape[-1] for name, value in state.items() if name.startswith('noises.'))
    narrow = state['constant_input.weight'].shape[1] / 512
    finest = f'style_convs.{2 * int(math.log2(out_size)) - 5}.activate.bias'
    return {
        'out_size': out_size,
        'num_style_feat': len(state['style_mlp.1.bias']),
        'num_mlp': sum(name.startswith('style_mlp.') and name.endswith('.bias') for name in state),
        # Up to size 32 there are 512 channels, from 64 on 16384 / size times the multiplier; all times `narrow`.
        'channel_multiplier': len(state[finest]) * out_size / 16384 / narrow if out_size >= 64 else 1,
        'narrow': narrow,
    }


def from_rosinality(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert rosinality's layout to BasicSR's, which has other names for the same values; raise ValueError for an unknown name."""
    return {_renamed(name): value for name, value in state.items() if not ROSINALITY_CONSTANTS.fullmatch(name)}


def _renamed(name: str) -> str:
    for pattern, replacement in ROSINALITY:
        match = pattern.fullmatch(name)
        if match:
            return match.expand(replacement)
    raise ValueError(f'{name} is no part of the StyleGAN2 that FREx has')


def from_nvidia(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert NVIDIA's layout to BasicSR's: names, shapes, and the scale of weights, which BasicSR divides at run time.

    The mean latent code `w_avg` is lost, because BasicSR's layout lacks it. Raises ValueError for a name that an unconditional generator
    with skip connections does not have.
    """
    converted: dict[str, Tensor] = {}
    for name, value in state.items():
        if NVIDIA_CONSTANTS.fullmatch(name):
            continue
        own, own_value = _nvidia_weight(name, value)
        if own in converted:
            raise ValueError(f'{name} is there under two names')
        converted[own] = own_value
    return converted


def _nvidia_weight(name: str, value: Tensor) -> tuple[str, Tensor]:
    """Return BasicSR's name and value of a weight in NVIDIA's layout."""
    mapping = re.fullmatch(r'mapping\.fc(\d+)\.(weight|bias)', name)
    layer = NVIDIA_LAYER.fullmatch(name)
    if mapping:
        return f'style_mlp.{int(mapping[1]) + 1}.{mapping[2]}', value
    if name == 'synthesis.b4.const':
        return 'constant_input.weight', value[None]
    if layer:
        return _nvidia_layer(int(layer[1]), layer[2], layer[3], value)
    raise ValueError(f'{name} is no part of the StyleGAN2 that FREx has')


def _nvidia_layer(size: int, layer: str, name: str, value: Tensor) -> tuple[str, Tensor]:
    """Return BasicSR's name and value of the weight `name` of a synthesis layer at `size` x `size`."""
    level = size.bit_length() - 4
    own = _own_layer(level, layer)
    if name.startswith('affine.'):
        return f'{own}.modulated_conv.modulation.{name.removeprefix("affine.")}', value
    if name == 'weight':
        # Those of toRGB are divided at run time in both layouts.
        return f'{own}.modulated_conv.weight', value[None] * (1 if layer == 'torgb' else math.sqrt(value[0].numel()))
    if name == 'bias':
        return (f'{own}.bias', value[None, :, None, None]) if layer == 'torgb' else (f'{own}.activate.bias', value)
    if name == 'noise_strength':
        return f'{own}.weight', value[None]
    if name == 'noise_const':
        return f'noises.noise{0 if level < 0 else 2 * level + int(layer[-1]) + 1}', value[None, None]
    raise ValueError(f'{layer}.{name} is no part of the StyleGAN2 that FREx has')


def _own_layer(level: int, layer: str) -> str:
    if level < 0:
        return 'to_rgb1' if layer == 'torgb' else 'style_conv1'
    return f'to_rgbs.{level}' if layer == 'torgb' else f'style_convs.{2 * level + int(layer[-1])}'

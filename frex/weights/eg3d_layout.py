"""EG3D's official generators: constructor arguments from what a file says and from the shapes of its weights."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

# Attributes of the pickled `rendering_kwargs` and FREx's arguments for them.
RENDERING = {
    'depth_resolution': 'depth_samples',
    'depth_resolution_importance': 'importance_samples',
    'disparity_space_sampling': 'disparity',
    'box_warp': 'box_warp',
    'white_back': 'white_background',
}

# Settings that FREx's EG3D does not vary. A file that differs would load and give other pictures.
FIXED_RENDERING = {
    'clamp_mode': 'softplus',
    'superresolution_module': 'training.superresolution.SuperresolutionHybrid8XDC',
    'superresolution_noise_mode': 'none',
    'sr_antialias': True,
    'decoder_lr_mul': 1,
    'c_scale': 1,
    'c_gen_conditioning_zero': False,
}
FIXED = {'c_dim': 25, 'img_channels': 3, 'conv_clamp': None}


def arguments_from_shapes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """What the weights alone tell; rendering is left at the official FFHQ 512-128 settings. Raises KeyError for a missing weight."""
    sizes = sorted(
        int(name.split('.')[2][1:]) for name in state if name.startswith('backbone.synthesis.b') and name.endswith('.torgb.bias')
    )
    widths = {size: len(state[f'backbone.synthesis.b{size}.conv1.bias']) for size in sizes}
    feature_channels = state['superresolution.block0.conv0.weight'].shape[1]
    w_dim = len(state['backbone.mapping.w_avg'])
    return {
        'out_size': len(state['superresolution.block1.conv1.noise_const']),
        'z_dim': state['backbone.mapping.fc0.weight'].shape[1] - w_dim,
        'w_dim': w_dim,
        'plane_size': sizes[-1],
        'plane_channels': len(state['backbone.synthesis.b4.torgb.bias']) // 3,
        # Widths are min(channel_base / size, channel_max).
        'channel_base': widths[sizes[-1]] * sizes[-1],
        'channel_max': widths[sizes[0]],
        'feature_channels': feature_channels,
        'superresolution_channels': [len(state[f'superresolution.block{block}.conv1.bias']) for block in (0, 1)],
    }


def arguments_from_pickle(arguments: Mapping[str, Any], attributes: Mapping[str, Any], state: Mapping[str, Tensor]) -> dict[str, Any]:
    """All arguments, from a network's `_init_kwargs` and `__dict__`.

    Rendering settings are those of `__dict__`: training changes them after construction. Raises ValueError for settings
    that FREx's EG3D does not have.
    """
    rendering = attributes['rendering_kwargs']
    for settings, fixed in ((arguments, FIXED), (rendering, FIXED_RENDERING)):
        for name, value in fixed.items():
            if settings.get(name, value) != value:
                raise ValueError(f'its {name} is {settings[name]!r}, FREx has only {value!r}')
    depth_range = [rendering['ray_start'], rendering['ray_end']]
    return arguments_from_shapes(state) | {
        'render_size': attributes['neural_rendering_resolution'],
        'depth_range': None if 'auto' in depth_range else depth_range,
        **{own: rendering[name] for name, own in RENDERING.items() if name in rendering},
    }

"""EG3D's official generators: FREx's constructor arguments from the attributes in a pickle and from the shapes of the weights.

Where the mapping network ignores the camera, which `ignores_camera` finds in the attributes, the weight of its camera embedding is set to
0 by `without_camera`; `lacks_camera` recognises this in the weights. `generator_weights` drops a buffer that only training uses.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from frex_arch.camera import CAMERA_DIM

# Key of the pickled `rendering_kwargs` -> FREx's argument for it.
RENDERING = {
    'depth_resolution': 'depth_samples',
    'depth_resolution_importance': 'importance_samples',
    'disparity_space_sampling': 'disparity',
    'box_warp': 'box_warp',
    'white_back': 'white_background',
}

# Settings that are fixed in FREx's EG3D. A file with other values would load, but give wrong images, and is refused.
FIXED_RENDERING = {
    'clamp_mode': 'softplus',
    'superresolution_module': 'training.superresolution.SuperresolutionHybrid8XDC',
    'superresolution_noise_mode': 'none',
    'sr_antialias': True,
    'decoder_lr_mul': 1,
}
FIXED = {'c_dim': 25, 'img_channels': 3, 'conv_clamp': None}
# A buffer that the official training adds to the generator: the standard deviation of the camera labels, which inference does not use.
LABEL_DEVIATION = 'dataset_label_std'

# The weight of the mapping network's camera embedding.
CAMERA_WEIGHT = 'backbone.mapping.embed.weight'


def generator_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state of an EG3D generator without the buffer `LABEL_DEVIATION`.

    A value of that name that is no float tensor of shape (25,) stays, so that strict loading refuses it.
    """
    value = state.get(LABEL_DEVIATION)
    is_known = value is not None and value.shape == (CAMERA_DIM,) and value.is_floating_point()
    return {name: value for name, value in state.items() if name != LABEL_DEVIATION or not is_known}


def lacks_camera(state: Mapping[str, Tensor]) -> bool:
    """Return whether the mapping network gives the same codes for all cameras, as after `without_camera`."""
    return not state[CAMERA_WEIGHT].any()


def ignores_camera(attributes: Mapping[str, Any]) -> bool:
    """Return whether a pickled generator, given its `__dict__`, replaces the camera by zeros in its mapping network.

    The official training does so with `c_gen_conditioning_zero`, and its code multiplies the camera by 0 where `c_scale` is not set.
    """
    rendering = attributes['rendering_kwargs']
    return rendering.get('c_scale', 0) == 0 or rendering.get('c_gen_conditioning_zero', False) is True


def without_camera(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state with the weight of the camera embedding set to 0, which has the effect of a camera of zeros."""
    return {name: torch.zeros_like(value) if name == CAMERA_WEIGHT else value for name, value in state.items()}


def arguments_from_shapes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the arguments of `EG3D` that the shapes of its weights, under their official names, determine: sizes and channels.

    `render_size` and the settings of rays are missing, since no weight depends on them. Raises KeyError or IndexError where weights are
    missing.
    """
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
        # The number of channels at a size is min(channel_base / size, channel_max).
        'channel_base': widths[sizes[-1]] * sizes[-1],
        'channel_max': widths[sizes[0]],
        'feature_channels': feature_channels,
        'superresolution_channels': [len(state[f'superresolution.block{block}.conv1.bias']) for block in (0, 1)],
    }


def arguments_from_pickle(arguments: Mapping[str, Any], attributes: Mapping[str, Any], state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return all arguments of `EG3D`, from the pickled network's `_init_kwargs` (`arguments`), its `__dict__` and its weights.

    Rendering settings are taken from `__dict__`, because training changes them after construction. Raises ValueError for settings that
    FREx's EG3D does not have.
    """
    rendering = attributes['rendering_kwargs']
    for settings, fixed in ((arguments, FIXED), (rendering, FIXED_RENDERING)):
        for name, value in fixed.items():
            if settings.get(name, value) != value:
                raise ValueError(f'its {name} is {settings[name]!r}, FREx has only {value!r}')
    if rendering.get('c_scale', 0) not in (0, 1):
        raise ValueError(f'its c_scale is {rendering["c_scale"]!r}, FREx has only 1, and 0 for a mapping that ignores the camera')
    depth_range = [rendering['ray_start'], rendering['ray_end']]
    return arguments_from_shapes(state) | {
        'render_size': attributes['neural_rendering_resolution'],
        'depth_range': None if 'auto' in depth_range else depth_range,
        **{own: rendering[name] for name, own in RENDERING.items() if name in rendering},
    }

"""Render what the network inferred about a face as images: depth, 3D image, views of the head, and the AWB's alpha maps."""

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from frex.heads.views import VIEWS, render_views, turn_cameras
from frex.images import AnyImage, Image
from frex.tensors import to_images
from frex_arch import FREx, FRExOutput


@torch.inference_mode()
def render_structure(net: FREx, output: FRExOutput) -> dict[str, AnyImage]:
    """Return images of the 3D prior, BGR, by name: `depth`, `image_3d`, and `turntable`, VIEWS views of the head side by side.

    `output` is that of one face, computed with `image_3d=True`; without that the result is empty. In the depth image near is dark and far
    is bright; what lies outside of EG3D's crop is white. The result is empty, too, where the network has no 3D prior.
    """
    if net.eg3d is None or output.ws is None or output.depth is None or output.mask is None or output.image_3d is None:
        return {}
    return {
        'depth': _to_grey_image(_normalize_depth(output.depth[0, 0], output.mask[0, 0]), net.out_size),
        'image_3d': to_images(output.image_3d)[0],
        'turntable': np.hstack(render_views(net.eg3d, output.ws, turn_cameras(VIEWS))),
    }


def render_alpha_maps(net: FREx, output: FRExOutput) -> dict[str, AnyImage]:
    """Return each AWB's alpha, averaged over channels, side by side, coarse to fine, as `weights_map`: 0 is black, 1 grey, 2 white.

    `output` is that of one face, computed with `alphas=True`. The result is empty where the network has no AWB.
    """
    maps = [_to_grey_image(alpha[0, 0] / 2, net.out_size) for alpha in output.alphas or ()]
    return {'weights_map': np.hstack(maps)} if maps else {}


def _normalize_depth(depth: Float[Tensor, 'size size'], mask: Float[Tensor, 'size size']) -> Float[Tensor, 'size size']:
    """Map depth linearly so that within `mask`, EG3D's crop, the nearest becomes 0 and the farthest 1.

    Outside of the mask FREx has set depth to the batch's largest value, so the result there is 1 or more. Equal depths inside all become 0.
    """
    if not mask.any():
        return torch.ones_like(depth)
    inside = depth[mask > 0]
    return (depth - inside.min()) / (inside.max() - inside.min()).clamp(min=1e-6)


def _to_grey_image(values: Float[Tensor, 'rows columns'], size: int) -> Image:
    """Return numbers from 0 to 1 as a grey BGR image of `size` x `size` pixels."""
    grey = (values.float().cpu().numpy().clip(0, 1) * 255).round().astype(np.uint8)
    return cv2.cvtColor(cv2.resize(grey, (size, size), interpolation=cv2.INTER_NEAREST), cv2.COLOR_GRAY2BGR)

"""What the 3D prior saw of a face, and where it was trusted, as images."""

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from frex.images import Image
from frex.tensors import to_images
from frex_arch import FREx, FRExOutput
from frex_arch.camera import ffhq_intrinsics, look_at, pack_camera

# Yaw in radians; EG3D's heads are good up to about 0.8.
TURNTABLE = np.linspace(-0.7, 0.7, 9)


@torch.inference_mode()
def structure_pictures(net: FREx, output: FRExOutput) -> dict[str, Image]:
    """Of an output for one face, made with `image_3d`: `depth`, `image_3d`, and `turntable`, its views side by side.

    In the depth near is dark, and white what is beyond EG3D's crop. Nothing where the 3D prior is switched off.
    """
    if net.eg3d is None or output.ws is None or output.depth is None or output.mask is None or output.image_3d is None:
        return {}
    views = turntable(net, output.ws)
    return {
        'depth': _grey(_stretched(output.depth[0, 0], output.mask[0, 0]), net.out_size),
        'image_3d': to_images(output.image_3d)[0],
        'turntable': np.hstack(list(to_images(views))),
    }


@torch.inference_mode()
def turntable(net: FREx, ws: Float[Tensor, '1 num_ws w']) -> Float[Tensor, 'views 3 out_size out_size']:
    """The recovered head from TURNTABLE's directions, one after the other: a single view fills the memory that restoring needs."""
    assert net.eg3d is not None
    ws = ws.to(net.eg3d.w_avg.device)
    planes = net.eg3d.planes(ws)
    yaws = torch.from_numpy(TURNTABLE).float()
    cameras = pack_camera(look_at(yaws, torch.zeros_like(yaws)), ffhq_intrinsics()[None]).to(ws.device)
    rendered = [net.eg3d.render(planes, camera[None]).feature_image for camera in cameras]
    return torch.cat([net.eg3d.super_resolve(feature, ws) for feature in rendered])


def weights_map(net: FREx, output: FRExOutput) -> dict[str, Image]:
    """Of an output for one face, made with `alphas`: the AWB's alphas side by side, coarse to fine, grey where they are 1.

    Nothing where the AWB is switched off.
    """
    maps = [_grey(alpha[0, 0] / 2, net.out_size) for alpha in output.alphas or ()]
    return {'weights_map': np.hstack(maps)} if maps else {}


def _stretched(depth: Float[Tensor, 'size size'], mask: Float[Tensor, 'size size']) -> Float[Tensor, 'size size']:
    """What is within the mask from 0 to 1; the rest, which is farther, is beyond."""
    seen = depth[mask > 0] if mask.any() else depth
    return (depth - seen.min()) / (seen.max() - seen.min()).clamp(min=1e-6)


def _grey(values: Float[Tensor, 'rows columns'], size: int) -> Image:
    """A grey image of numbers from 0 to 1."""
    grey = (values.float().cpu().numpy().clip(0, 1) * 255).round().astype(np.uint8)
    return cv2.cvtColor(cv2.resize(grey, (size, size), interpolation=cv2.INTER_NEAREST), cv2.COLOR_GRAY2BGR)

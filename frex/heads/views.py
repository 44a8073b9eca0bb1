"""Render a recovered head from any side, as images and as a film."""

import io
import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float

from frex.images import Image
from frex.tensors import to_images
from frex.utils.extras import require_package
from frex_arch import EG3D
from frex_arch.camera import Camera, ffhq_intrinsics, look_at, pack_camera

# EG3D's heads look right up to about 40 degrees.
MOST_YAW = 40.0
VIEWS = 9
# A film that turns to the other side and back takes about two seconds.
FILM_VIEWS = 25
FRAMES_PER_SECOND = 24
# Constant rate factor of x264: visually lossless.
QUALITY = '17'


def turn_cameras(count: int, most_yaw: float = MOST_YAW) -> Float[torch.Tensor, 'count 25']:
    """Return `count` cameras in a row from the person's right side to the left, at equal angles from -`most_yaw` to `most_yaw` degrees.

    A single camera stands in front.
    """
    yaws = (torch.linspace(-1, 1, count) if count > 1 else torch.zeros(count)) * math.radians(most_yaw)
    return pack_camera(look_at(yaws, torch.zeros_like(yaws)), ffhq_intrinsics()[None])


@torch.inference_mode()
def render_views(eg3d: EG3D, ws: Float[torch.Tensor, '1 num_ws w'], cameras: Camera) -> list[Image]:
    """Return the head of the latent codes `ws` as each of `cameras` sees it, BGR uint8 with `out_size` of `eg3d` pixels along each side.

    The views are rendered one at a time, because each takes as much memory as restoring a face.
    """
    ws = ws.to(eg3d.w_avg.device)
    planes = eg3d.planes(ws)
    rendered = (eg3d.render(planes, camera[None]) for camera in cameras.to(ws.device))
    return [to_images(eg3d.super_resolve(view.feature_image, ws))[0] for view in rendered]


def encode_film(views: Sequence[Image]) -> bytes:
    """Return a film (.mp4, H.264) that shows `views` in order and then backwards, so that the head turns to the other side and back.

    `views`, BGR of one even height and width, go from one side of the head to the other; each is a frame, FRAMES_PER_SECOND a second.
    Raises FRExError where the package PyAV is missing.
    """
    require_package('av', 'writing a film')
    import av

    file = io.BytesIO()
    height, width = views[0].shape[:2]
    with av.open(file, 'w', format='mp4') as container:
        stream = container.add_stream('libx264', rate=FRAMES_PER_SECOND, options={'crf': QUALITY})
        stream.width, stream.height, stream.pix_fmt = width, height, 'yuv420p'
        for view in [*views, *views[-2:0:-1]]:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(view), format='bgr24')))
        container.mux(stream.encode())
    return file.getvalue()

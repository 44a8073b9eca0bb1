"""The 3D branch of FREx alone, Enc_3D and the frozen EG3D (Gen_3D), which stage A trains with L_3D (Eqs. 1 and 2)."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Generator, Tensor, nn

from frex_arch.camera import Camera
from frex_arch.crop import Crop, mean_crop, warp_to_crop
from frex_arch.eg3d import EG3D
from frex_arch.encoder_3d import Encoder3D, Encoding3D
from frex_arch.ops import Noise


class FREx3DOutput(NamedTuple):
    """The reconstruction of a head. `image_3d` is RGB, about [-1, 1], in EG3D's crop, as is `depth`; the rest is as in `FRExOutput`."""

    image_3d: Float[Tensor, 'batch 3 out_size out_size']
    camera: Camera
    ws: Float[Tensor, 'batch num_ws w']
    z_3d: Float[Tensor, 'batch w']
    offsets: Float[Tensor, 'batch num_ws w']
    depth: Float[Tensor, 'batch 1 render_size render_size']


class FREx3D(nn.Module):
    """The 3D branch of FREx, with the parameter names that it has in FREx; all weights are untrained until a state dict is loaded.

    `eg3d` and `encoder_3d` are keyword arguments of `EG3D` and `Encoder3D`.
    """

    def __init__(self, *, out_size: int = 512, eg3d: Mapping[str, Any] | None = None, encoder_3d: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.out_size = out_size
        self.eg3d = EG3D(out_size=out_size, **(eg3d or {})).requires_grad_(False)
        self.encoder_3d = Encoder3D(num_ws=self.eg3d.num_ws, w_dim=self.eg3d.w_dim, **(encoder_3d or {}))

    def forward(
        self, lq: Float[Tensor, 'batch 3 out_size out_size'], crop: Crop | None = None, generator: Generator | None = None
    ) -> FREx3DOutput:
        """Reconstruct the heads of the aligned degraded faces `lq`, RGB in [-1, 1]; `crop` and `generator` are as in `FREx.forward`."""
        noise: Noise = 'random' if self.training else 'const'
        code = self.encoder_3d(warp_to_crop(lq, mean_crop(lq) if crop is None else crop, self.encoder_3d.in_size))
        ws = latent_codes(self.eg3d, code)
        rendered = self.eg3d.render(self.eg3d.planes(ws, noise, generator), code.camera, generator, jitter=self.training)
        image_3d = self.eg3d.super_resolve(rendered.feature_image, ws)
        return FREx3DOutput(image_3d, code.camera, ws, code.z_3d, code.offsets, rendered.depth)


def latent_codes(eg3d: EG3D, code: Encoding3D) -> Float[Tensor, 'batch num_ws w']:
    """Return EG3D's latent codes, w_avg + Z_3D + Z_bar; raise ValueError where Enc_3D has predicted the camera alone."""
    if code.z_3d is None or code.offsets is None:
        raise ValueError('this Enc_3D predicts the camera alone')
    return eg3d.w_avg + code.z_3d[:, None] + code.offsets

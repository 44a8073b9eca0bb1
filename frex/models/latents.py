"""Latent codes for the latent critic of stage A: real ones of the 3D prior's mapping network, and a pool of generated ones."""

import torch
from jaxtyping import Float
from torch import Tensor

from frex_arch import EG3D
from frex_arch.camera import CAMERA_DIM, ffhq_intrinsics, look_at, pack_camera

# The limits of yaw and pitch of `look_at`: near-frontal conditioning, so that codes are judged as those of a face and not of a view.
MOST_YAW, MOST_PITCH = 0.4, 0.15


@torch.no_grad()
def draw_latents(eg3d: EG3D, count: int) -> Float[Tensor, 'count w']:
    """Map `count` random z, conditioned on random near-frontal cameras, to w on the device of `eg3d`.

    Random numbers are torch's own of the CPU, so that a seed gives the same ones on every device.
    """
    device = eg3d.w_avg.device
    angles = (torch.rand(count, 2) * 2 - 1) * torch.tensor([MOST_YAW, MOST_PITCH])
    camera = pack_camera(look_at(angles[:, 0], angles[:, 1]), ffhq_intrinsics()[None])
    z = torch.randn(count, eg3d.z_dim)
    # One copy to the device for both.
    z, camera = torch.cat([z, camera], dim=1).to(device).split([eg3d.z_dim, CAMERA_DIM], dim=1)
    return eg3d.mapping(z, camera)[:, 0]


class LatentPool:
    """A pool of up to `size` generated codes (Shrivastava et al. 2017); once it is full, it gives about half of what the critic sees."""

    def __init__(self, size: int = 50) -> None:
        self.size = size
        self.codes: list[Tensor] = []

    def exchange(self, codes: Float[Tensor, 'batch w']) -> Float[Tensor, 'batch w']:
        """Return `codes`, of which the pool keeps copies until it is full; then each is swapped for an older one with probability 1/2."""
        return torch.stack([self._exchange(code) for code in codes])

    def _exchange(self, code: Float[Tensor, ' w']) -> Float[Tensor, ' w']:
        if len(self.codes) < self.size:
            self.codes.append(code.clone())
            return code
        if torch.rand(()) < 0.5:
            return code
        place = int(torch.randint(self.size, ()))
        older, self.codes[place] = self.codes[place], code.clone()
        return older

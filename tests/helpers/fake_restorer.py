"""A FREx that computes nothing, and a `FaceRestorer` around it: for tests of what happens before and after the network."""

import math

import torch
from fake_detector import FakeDetector

from frex.restore import FaceRestorer
from frex.restore.faces.helper_networks import HelperNetworks
from frex_arch import FREx, FRExOutput
from frex_arch.camera import ffhq_intrinsics, look_at, pack_camera
from frex_arch.encoder_3d import Encoding3D


class FakeNetwork(FREx):
    """A network that returns each face as `change` leaves it, and remembers its arguments."""

    def __init__(self, size=64, change=lambda lq: lq, most=100):
        torch.nn.Module.__init__(self)
        self.out_size, self.change, self.most, self.calls = size, change, most, []

    def encode_3d(self, lq, crop=None):
        """Return the camera of each face, and a code that is its mean."""
        code = lq.mean(dim=(1, 2, 3))[:, None].expand(-1, 8)
        return Encoding3D(code, torch.zeros(len(lq), 4, 8), self._cameras(len(lq)))

    def _cameras(self, count):
        angle = torch.full([count], math.radians(30))
        return pack_camera(look_at(angle, 0 * angle, pivot=(0, 0, 0)), ffhq_intrinsics()[None])

    def forward(self, lq, crop=None, generator=None, image_3d=False, alphas=False, fidelity=1.0, structure=1.0, code=None):
        self.calls.append((len(lq), crop, fidelity, structure))
        if len(lq) > self.most:
            raise torch.cuda.OutOfMemoryError('CUDA out of memory')
        camera = self._cameras(len(lq)) if code is None else code.camera
        details = torch.ones(len(lq), 3, 8, 8) if image_3d else None
        return FRExOutput(self.change(lq), (lq[:, :, :16, :16],), camera, *[None] * 6, details, (details,) if alphas else None)


def fake_restorer(*faces, precision='fp32', face_batch=8, **net):
    """Return a `FaceRestorer` of a fake network, whose detector finds `faces` in every photograph."""
    return FaceRestorer(FakeNetwork(**net), 'cpu', precision, face_batch, HelperNetworks(detector=FakeDetector(*faces)))

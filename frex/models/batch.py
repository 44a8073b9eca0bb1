"""What one training step is given."""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from frex_arch.camera import Camera
from frex_arch.crop import Crop


class Batch(NamedTuple):
    """`lq` and `gt` are RGB in [-1, 1]; `camera` is None for pictures without labels."""

    lq: Float[Tensor, 'batch 3 size size']
    gt: Float[Tensor, 'batch 3 size size']
    crop: Crop | None
    camera: Camera | None

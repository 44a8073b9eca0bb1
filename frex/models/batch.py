"""What one training step is given."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor

from frex_arch.camera import Camera
from frex_arch.crop import Crop


class Batch(NamedTuple):
    """`lq` and `gt` are RGB in [-1, 1]; `camera` is None for images without labels.

    `has_camera` says which cameras count, where images with labels and without are mixed; None: all.
    `latents` are w of the 3D prior's own mapping network, where a critic compares with them.
    """

    lq: Float[Tensor, 'batch 3 size size']
    gt: Float[Tensor, 'batch 3 size size']
    crop: Crop | None
    camera: Camera | None
    latents: Float[Tensor, 'batch w'] | None = None
    has_camera: Bool[Tensor, ' batch'] | None = None

    def split(self, parts: int) -> 'list[Batch]':
        """The batch in `parts` of equal size."""
        pieces: dict[str, Sequence[Any]] = {
            name: [None] * parts if value is None else value.chunk(parts) for name, value in self._asdict().items()
        }
        return [Batch(**{name: piece[part] for name, piece in pieces.items()}) for part in range(parts)]

"""The input of one training step."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor

from frex_arch.camera import Camera
from frex_arch.crop import Crop


class Batch(NamedTuple):
    """Degraded and clean faces, RGB in [-1, 1], with the crop (`frex_arch.crop`) and the camera of each.

    `crop` None means that of a frontal face. `camera` is the label, of EG3D's crop, and None for images without labels. `has_camera` says
    which cameras are labels, where images with labels and without are mixed; None means that all are. `latents` are w of the 3D prior's own
    mapping network, the real samples of the latent critic.
    """

    lq: Float[Tensor, 'batch 3 size size']
    gt: Float[Tensor, 'batch 3 size size']
    crop: Crop | None
    camera: Camera | None
    latents: Float[Tensor, 'batch w'] | None = None
    has_camera: Bool[Tensor, ' batch'] | None = None

    def split(self, parts: int) -> 'list[Batch]':
        """Split the batch into `parts` smaller ones of equal size; `parts` must divide the number of faces, which is not checked."""
        pieces: dict[str, Sequence[Any]] = {
            name: [None] * parts if value is None else value.chunk(parts) for name, value in self._asdict().items()
        }
        return [Batch(**{name: piece[part] for name, piece in pieces.items()}) for part in range(parts)]

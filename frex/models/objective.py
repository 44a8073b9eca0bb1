"""What the generator is trained for: the terms of Eqs. 14 and 18 that need no critic."""

from collections.abc import Callable, Mapping

import torch
from basicsr.losses import build_loss
from basicsr.utils import get_root_logger
from torch import Tensor, nn

from frex.models.batch import Batch
from frex.models.train_options import TrainOptions
from frex_arch import FRExOutput

Term = Callable[[nn.Module, FRExOutput, Batch], Tensor | None]


def _camera(loss: nn.Module, output: FRExOutput, batch: Batch) -> Tensor | None:
    return None if batch.camera is None else loss(output.camera, batch.camera)


# Key of `train` in the option file -> name in the log, and what the loss compares.
TERMS: dict[str, tuple[str, Term]] = {
    'pixel_opt': ('l_g_pix', lambda loss, output, batch: loss(output.image, batch.gt)),
    'pyramid_opt': ('l_g_pyramid', lambda loss, output, batch: loss(output.images_3d, batch.gt)),
    'camera_opt': ('l_g_camera', _camera),
}


class Objective(nn.Module):
    """The configured terms. A term that a batch has no labels for is left out, which is said once."""

    def __init__(self, options: TrainOptions) -> None:
        super().__init__()
        self.losses = nn.ModuleDict({key: build_loss(getattr(options, key)) for key in TERMS if getattr(options, key)})
        self.left_out: set[str] = set()

    def forward(self, output: FRExOutput, batch: Batch) -> dict[str, Tensor]:
        """Weighted terms by their names in the log."""
        terms = {}
        for key, loss in self.losses.items():
            name, compute = TERMS[key]
            value = compute(loss, output, batch)
            if value is None:
                self._say_left_out(key)
            else:
                terms[name] = value
        return terms

    def _say_left_out(self, key: str) -> None:
        if key not in self.left_out:
            self.left_out.add(key)
            get_root_logger().warning(f'{key}: the training data has no labels for it; the term is left out.')


def total(terms: Mapping[str, Tensor]) -> Tensor:
    """Sum of all terms (Eq. 18)."""
    return torch.stack(list(terms.values())).sum()

"""What the generator is trained for: the terms of Eqs. 10, 14, 17 and 18 that need no critic."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from basicsr.losses import build_loss
from basicsr.utils import get_root_logger
from torch import Tensor, nn

from frex.losses.vgg import once, share_features
from frex.models.batch import Batch
from frex.models.train_options import TrainOptions
from frex_arch.crop import frame_mask, mean_crop, warp_to_crop

# A FRExOutput or a FREx3DOutput; the options say which of them a term is for.
Output = Any
Term = Callable[[nn.Module, Output, Batch], Tensor | None]


def _camera(loss: nn.Module, output: Output, batch: Batch) -> Tensor | None:
    return None if batch.camera is None else loss(output.camera, batch.camera, batch.has_camera)


def _offsets(loss: nn.Module, output: Output, batch: Batch) -> Tensor:
    return loss(output.offsets)


def _image(loss: nn.Module, output: Output, batch: Batch) -> Tensor:
    return loss(output.image, batch.gt)


def _image_3d(loss: nn.Module, output: Output, batch: Batch) -> Tensor:
    return loss(output.image_3d, in_eg3d_crop(batch, output.image_3d))


def _images_3d(loss: nn.Module, output: Output, batch: Batch) -> Tensor:
    return loss(output.images_3d, batch.gt)


def in_eg3d_crop(batch: Batch, image_3d: Tensor) -> Tensor:
    """`gt` as EG3D crops it. Where that reaches beyond the picture, `image_3d` itself, so that nothing is compared there."""
    crop = mean_crop(batch.gt) if batch.crop is None else batch.crop
    size = image_3d.shape[-1]
    return torch.where(frame_mask(crop, size) > 0, warp_to_crop(batch.gt, crop, size), image_3d.detach())


# Key of `train` in the option file -> name in the log, and what the loss compares.
TERMS: dict[str, tuple[str, Term]] = {
    'pixel_3d_opt': ('l_g_pix_3d', _image_3d),
    'perceptual_3d_opt': ('l_g_percep_3d', _image_3d),
    'identity_3d_opt': ('l_g_identity_3d', _image_3d),
    'offset_norm_opt': ('l_g_offset_norm', _offsets),
    'pixel_opt': ('l_g_pix', _image),
    'perceptual_opt': ('l_g_percep', _image),
    'identity_opt': ('l_g_identity', _image),
    'structure_opt': ('l_g_structure', _image),
    'style_opt': ('l_g_style', _image),
    'pyramid_opt': ('l_g_pyramid', _images_3d),
    'camera_opt': ('l_g_camera', _camera),
}
# Those that compare the 3D prior's own picture, and those that need the fused one.
TERMS_3D = [key for key, (_, term) in TERMS.items() if term is _image_3d]
TERMS_2D = [key for key, (_, term) in TERMS.items() if term in (_image, _images_3d)]


class Objective(nn.Module):
    """The configured terms. A term that a batch has no labels for is left out, which is said once."""

    def __init__(self, options: TrainOptions) -> None:
        super().__init__()
        self.losses = nn.ModuleDict({key: build_loss(getattr(options, key)) for key in TERMS if getattr(options, key)})
        share_features(self.losses.values())
        self.left_out: set[str] = set()

    def forward(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """Weighted terms by their names in the log."""
        with once(self.losses.values()):
            return self._terms(output, batch)

    def _terms(self, output: Output, batch: Batch) -> dict[str, Tensor]:
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


def untouched(output: Output) -> Tensor:
    """0, with a gradient of 0 for all that the network makes: distributed training waits for parts that no term looks at."""
    return torch.stack([0 * made.sum() for made in (*getattr(output, 'images_3d', ()), output.camera)]).sum()


def total(terms: Mapping[str, Tensor]) -> Tensor:
    """Sum of all terms (Eq. 18)."""
    return torch.stack(list(terms.values())).sum()

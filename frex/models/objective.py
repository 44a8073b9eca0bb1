"""The generator's objective: the terms of Eqs. 10, 14, 17 and 18 that need no critic."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from basicsr.losses import build_loss
from basicsr.utils import get_root_logger
from torch import Tensor, nn

from frex.losses.frozen_network import cast_layers, feature_cache, share_networks
from frex.models.batch import Batch
from frex.options.convert import ComponentOptions
from frex.options.train import TrainOptions
from frex_arch.crop import mask_in_eg3d_crop, mean_crop, warp_to_crop

# A FRExOutput or a FREx3DOutput; `check_loss_inputs` holds that the network makes what a term needs.
Output = Any
# The arguments of a loss; None where the batch has no labels for it.
Arguments = tuple[Any, ...] | None
GetArguments = Callable[[Output, Batch], Arguments]


def _camera(output: Output, batch: Batch) -> Arguments:
    return None if batch.camera is None else (output.camera, batch.camera, batch.has_camera)


def _offsets(output: Output, batch: Batch) -> Arguments:
    return (output.offsets,)


def _image(output: Output, batch: Batch) -> Arguments:
    return output.image, batch.gt


def _image_3d(output: Output, batch: Batch) -> Arguments:
    return output.image_3d, in_eg3d_crop(batch, output.image_3d)


def _images_3d(output: Output, batch: Batch) -> Arguments:
    return output.images_3d, batch.gt


def in_eg3d_crop(batch: Batch, image_3d: Tensor) -> Tensor:
    """Return `gt` in EG3D's crop; where that reaches beyond the image, `image_3d` itself, so that nothing is compared there."""
    crop = mean_crop(batch.gt) if batch.crop is None else batch.crop
    size = image_3d.shape[-1]
    return torch.where(mask_in_eg3d_crop(crop, size) > 0, warp_to_crop(batch.gt, crop, size), image_3d.detach())


# Key of `train` in the option file -> name in the log, and what the loss compares.
TERMS: dict[str, tuple[str, GetArguments]] = {
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
# The terms that compare the 3D prior's own image, those that need the 2D branch, which FREx3D lacks, and those that train only Enc_3D.
TERMS_3D = [key for key, (_, compared) in TERMS.items() if compared is _image_3d]
TERMS_2D = [key for key, (_, compared) in TERMS.items() if compared in (_image, _images_3d)]
TERMS_OF_ENCODER_3D = [key for key, (_, compared) in TERMS.items() if compared in (_image_3d, _offsets, _camera)]


def active_losses(options: TrainOptions) -> dict[str, ComponentOptions]:
    """Return the configured losses by their keys, without those that would train nothing, since all that they train is frozen."""
    idle = {*TERMS_OF_ENCODER_3D, 'latent_gan_opt'} if 'encoder_3d' in options.frozen_parts else set()
    return {key: loss for key, loss in options.losses.items() if key not in idle or (options.train_priors and key in TERMS_3D)}


class Objective(nn.Module):
    """Computes the configured terms, without those that train only Enc_3D where `train.frozen_parts` freezes it.

    A term for which a batch has no labels is left out, which is logged once.
    """

    def __init__(self, options: TrainOptions) -> None:
        super().__init__()
        active = active_losses(options)
        idle = [key for key in TERMS if key in options.losses and key not in active]
        if idle:
            get_root_logger().warning(f'Left out, since they train encoder_3d only, which train.frozen_parts freezes: {", ".join(idle)}.')
        self.losses = nn.ModuleDict({key: build_loss(active[key].section) for key in TERMS if key in active})
        share_networks(self.losses.values())
        self.needs_image_3d = any(key in TERMS_3D for key in self.losses)
        self.left_out: set[str] = set()
        if options.bf16:
            cast_layers(self, torch.bfloat16)

    def forward(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """Return the terms, times their loss weights, by their names in the log."""
        with feature_cache(self.losses.values()):
            compared = {compare: compare(output, batch) for compare in dict.fromkeys(TERMS[key][1] for key in self.losses)}
            terms = {}
            for key, loss in self.losses.items():
                name, compare = TERMS[key]
                arguments = compared[compare]
                if arguments is None:
                    self._log_left_out(key)
                else:
                    terms[name] = loss(*arguments)
            return terms

    def _log_left_out(self, key: str) -> None:
        if key not in self.left_out:
            self.left_out.add(key)
            get_root_logger().warning(f'{key}: the training data has no labels for it; the term is left out.')


def zero_gradient_terms(output: Output) -> Tensor | float:
    """Return 0; in a distributed run it has a gradient of 0 for the decoder's images and the camera.

    Distributed training waits for a gradient of every parameter, also where no term uses these outputs.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return 0.0
    return torch.stack([0 * made.sum() for made in (*getattr(output, 'images_3d', ()), output.camera)]).sum()


def total(terms: Mapping[str, Tensor]) -> Tensor:
    """Return the sum of all terms (Eq. 18)."""
    return torch.stack(list(terms.values())).sum()

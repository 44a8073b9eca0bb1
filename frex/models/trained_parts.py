"""The choice of the parameters of FREx that are trained, which follows the options `train_priors` and `frozen_parts`."""

from frex.models.objective import TERMS_3D
from frex.options.train import TrainOptions
from frex_arch import FREx, FREx3D


def choose_trained_parts(net: FREx | FREx3D, options: TrainOptions) -> None:
    """Set `requires_grad` of the parameters of `net`: `train_priors` trains the priors, too, and `frozen_parts` are not trained."""
    if options.train_priors:
        _unfreeze_priors(net, is_compared=any(key in options.losses for key in TERMS_3D))
    for part in options.frozen_parts:
        net.get_submodule(part).requires_grad_(False)


def _unfreeze_priors(net: FREx | FREx3D, is_compared: bool) -> None:
    """Train the synthesis of both generators, too, but super-resolution only where a term compares its image (`is_compared`)."""
    if isinstance(net, FREx):
        net.stylegan2.requires_grad_(True)
        net.stylegan2.style_mlp.requires_grad_(False)
    if net.eg3d is not None:
        net.eg3d.requires_grad_(True)
        net.eg3d.backbone.mapping.requires_grad_(False)
        for name, parameter in net.eg3d.superresolution.named_parameters():
            # Super-resolution adds no noise.
            parameter.requires_grad_(is_compared and not name.endswith('noise_strength'))

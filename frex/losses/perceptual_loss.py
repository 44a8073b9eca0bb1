"""The perceptual term of Eqs. 10 and 14."""

from frex.losses.vgg import VGGLoss


class VGGPerceptualLoss(VGGLoss):
    """Weighted sum over layers of the L1 distance of VGG19's features before their ReLU; arguments and errors are those of `VGGLoss`."""

"""The perceptual term of Eqs. 10 and 14."""

from frex.losses.vgg import VGGLoss


class VGGPerceptualLoss(VGGLoss):
    """Weighted L1 of VGG19's features before their activations."""

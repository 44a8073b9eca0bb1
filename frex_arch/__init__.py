"""The networks of FREx in plain PyTorch. This package needs neither BasicSR nor the `frex` package."""

from frex_arch.arcface import ArcFace
from frex_arch.discriminators import DualDiscriminator, LatentDiscriminator, MultiScaleDiscriminator, StyleGAN2Discriminator
from frex_arch.eg3d import EG3D
from frex_arch.frex import FREx, FRExOutput
from frex_arch.frex_3d import FREx3D, FREx3DOutput
from frex_arch.stylegan2 import StyleGAN2

__all__ = [
    'EG3D',
    'ArcFace',
    'DualDiscriminator',
    'FREx',
    'FREx3D',
    'FREx3DOutput',
    'FRExOutput',
    'LatentDiscriminator',
    'MultiScaleDiscriminator',
    'StyleGAN2',
    'StyleGAN2Discriminator',
]

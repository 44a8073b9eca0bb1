"""The training step. Its modules import basicsr, which `compat` has to patch first."""

from frex import compat

compat.install()

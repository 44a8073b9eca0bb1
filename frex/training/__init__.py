"""A training run, from its options to BasicSR's loop. Its modules import basicsr, which `compat` has to patch first."""

from frex import compat

compat.install()

"""Making test sets: degraded images, faces in even poses, real photographs."""

from frex.testsets.degrade import degrade_folder

__all__ = ['degrade_folder']

"""Make test sets: degraded faces, faces with evenly distributed yaw, and real photographs."""

from frex.testsets.degrade import degrade_folder

__all__ = ['degrade_folder']

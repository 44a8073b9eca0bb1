"""Image in, image out. Never imports BasicSR."""

from frex.restore.restorer import FaceRestorer

__all__ = ['FaceRestorer']

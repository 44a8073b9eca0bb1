"""Image in, image out. Never imports BasicSR."""

from frex.restore.restorer import FaceRestorer
from frex.restore.results import Restoration, RestoredFace, RestoredImage
from frex.restore.selection import Selection

__all__ = ['FaceRestorer', 'Restoration', 'RestoredFace', 'RestoredImage', 'Selection']

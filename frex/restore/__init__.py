"""Image in, image out. Never imports BasicSR."""

from frex.restore.detection.selection import Selection
from frex.restore.faces.restorer import FaceRestorer
from frex.restore.faces.results import Restoration, RestoredFace, RestoredImage

__all__ = ['FaceRestorer', 'Restoration', 'RestoredFace', 'RestoredImage', 'Selection']

"""Image in, image out. Never imports BasicSR."""

from frex.restore.faces.restorer import FaceRestorer
from frex.restore.faces.results import Restoration, RestoredFace, RestoredImage
from frex.restore.finding.selection import Selection

__all__ = ['FaceRestorer', 'Restoration', 'RestoredFace', 'RestoredImage', 'Selection']

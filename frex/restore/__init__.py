"""Restore faces in images: the Python interface, and the code behind `frex restore`. BasicSR is never imported here."""

from frex.restore.detection.selection import Selection
from frex.restore.faces.restorer import FaceRestorer
from frex.restore.faces.results import Restoration, RestoredFace, RestoredImage

__all__ = ['FaceRestorer', 'Restoration', 'RestoredFace', 'RestoredImage', 'Selection']

"""Metrics as functions of images, and those that need a whole set; all are registered with BasicSR as well.

Importing any of them makes basicsr importable first.
"""

from frex import compat

compat.install()

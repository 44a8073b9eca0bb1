"""Metrics of restored images, for evaluations and for BasicSR's validation during training.

Importing any of these modules makes basicsr importable first.
"""

from frex import compat

compat.install()

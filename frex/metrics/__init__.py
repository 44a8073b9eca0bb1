"""Metrics of restored images, for evaluations and for BasicSR's validation during training.

Importing this package first patches what keeps basicsr from being imported (`frex.compat`).
"""

from frex import compat

compat.install()

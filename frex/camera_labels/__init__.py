"""Preparing camera labels: `frex cameras`."""

"""Samples of the 3D prior, to train on."""

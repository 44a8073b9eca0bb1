"""Folders of images: what is done, in which order, what is reported."""

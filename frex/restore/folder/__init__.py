"""Folders of pictures: what is done, in which order, what is reported."""

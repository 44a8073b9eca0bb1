"""Helpers that know nothing of faces: atomic files, JSON lines, resumable folders, random order, shards, signals, text."""
